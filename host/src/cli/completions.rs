//! `ticket-host completions`: what a shell needs to complete commands and options.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::print_text;
use crate::error::Result;

/// Prints a shell's completions of this program. Write them to where the shell looks for them: for bash to
/// ~/.local/share/bash-completion/completions/ticket-host, for zsh to the file _ticket-host in a directory of
/// $fpath, for fish to ~/.config/fish/completions/ticket-host.fish.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ticket-host completions bash > ~/.local/share/bash-completion/completions/ticket-host
  ticket-host completions fish > ~/.config/fish/completions/ticket-host.fish")]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<ExitCode> {
    print_text(&script(arguments.shell), as_json)?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut program = super::Arguments::command();
    clap_complete::generate(shell, &mut program, "ticket-host", &mut script);
    // In bash's script the parts of a name with a hyphen are joined in two ways, so that no command's own words would be
    // completed (clap-rs/clap#6421).
    String::from_utf8_lossy(&script).replace("ticket__subcmd__host", "ticket__host")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program, its commands, their commands and so on.
    fn all(program: clap::Command) -> Vec<clap::Command> {
        let below = program.get_subcommands().cloned().flat_map(all).collect::<Vec<_>>();
        std::iter::once(program).chain(below).collect()
    }

    #[test]
    fn every_shells_completions_name_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in all(super::super::Arguments::command()) {
                let name = command.get_name();
                assert!(script.contains(name), "{shell} doesn't know {name}");
            }
        }
    }

    /// What bash offers after the words `ticket-host` and `words`.
    #[cfg(unix)]
    fn offered_by_bash(words: &[&str]) -> Vec<String> {
        let script = script(Shell::Bash);
        let asks = "COMP_WORDS=(ticket-host \"$@\" ''); COMP_CWORD=$(($# + 1))
            registered=$(complete -p ticket-host); completes=${registered#* -F }
            ${completes%% *} ticket-host '' \"${COMP_WORDS[COMP_CWORD - 1]}\"
            printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = std::process::Command::new("bash")
            .args(["-c", &format!("{script}\n{asks}"), "bash"])
            .args(words)
            .output()
            .expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "bash complains");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    #[cfg(unix)]
    #[test]
    fn bash_offers_the_commands_after_their_parents_name() {
        let mut program = super::super::Arguments::command();
        program.build();
        for parent in all(program).iter().filter(|command| command.get_name() != "help") {
            let name = parent.get_bin_name().unwrap_or_default();
            let words: Vec<&str> = name.split(' ').skip(1).collect();
            let offered = offered_by_bash(&words);
            for command in parent.get_subcommands() {
                let command = command.get_name().to_owned();
                assert!(offered.contains(&command), "{name:?} is not completed by {command:?}");
            }
        }
    }
}
