//! What becomes of a ticket's file after it was made: a comment at its end, and its state in the front matter, which is told, too.
//!
//! Invariant: a step is one new file in the place of the old one, so it is carried out as a whole or not at all. What people wrote in it stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind::NotFound, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use ticket_plugin_api::{
    Action, Call, Error, Format, Incident, Result, Retry, StateRequest, States, TicketState,
    TicketStatus, UpdateRequest, Updated, fingerprint,
};
use url::Url;

use crate::{Local, failed, sync_directory};

/// Bytes that a ticket's file may have, with all that people wrote into it.
const LONGEST: u64 = 16 << 20;
/// What is left of a call's time when no other file is begun: a directory may lie on a slow network.
const TIME_FOR_A_FILE: Duration = Duration::from_secs(1);
/// The front matter that says whose ticket it is and how it is, which no operator's field replaces.
const OWN: [&str; 3] = ["title", "key", "state"];

pub(crate) fn update(
    local: &Local,
    call: &Call,
    request: &UpdateRequest<Incident>,
) -> Result<Option<Updated>> {
    let step = &request.step;
    let (path, text, mut page) = match look(local, &request.ticket.url)? {
        Look::There { path, text, page } => (path, text, page),
        Look::Gone => return Ok(None),
        Look::Foreign => {
            return Ok(Some(Updated { state: TicketState::Foreign, ..Updated::default() }));
        }
    };
    let was = page.state();
    let mark = format!("<!-- ticket-host step:{} -->", step.id);
    let written = page.has(&mark);
    if (was == TicketState::Open) == (step.action == Action::Reopen) {
        // If the comment isn't there, a person was faster.
        return Ok(Some(Updated { done: written, state: was, ..Updated::default() }));
    }
    let mut warnings = Vec::new();
    if !written {
        let comment = call.comment(step.action, Format::Markdown)?;
        if !comment.is_empty() {
            page.add(comment.trim_end(), &mark);
        }
    }
    let state = match step.action {
        Action::Close => {
            page.set("state", "closed");
            page.set_fields(&step.fields, &mut warnings);
            TicketState::Closed
        }
        Action::Reopen => {
            page.set("state", "open");
            TicketState::Open
        }
        Action::Comment | Action::Other => was,
    };
    let preview = if request.dry_run {
        Some(format!("write {}\n\n{}", path.display(), page.text()))
    } else {
        replace(local, &path, &text, &page.text(), &mut warnings)?;
        None
    };
    Ok(Some(Updated { done: preview.is_none(), state, warnings, preview }))
}

/// In which state tickets are. One whose file can't be read or understood is left out; if that is all of them, the first one's error is
/// what there is to say.
pub(crate) fn state(local: &Local, call: &Call, request: &StateRequest) -> Result<States> {
    let mut states = States::default();
    let mut failed = None;
    for (number, asked) in request.tickets.iter().enumerate() {
        if number > 0 && call.remaining() < TIME_FOR_A_FILE {
            break;
        }
        let status = TicketStatus { url: asked.url.clone(), ..TicketStatus::default() };
        states.tickets.push(match look(local, &asked.url) {
            Ok(Look::There { path, page, .. }) => TicketStatus {
                id: local.ticket(&path).id,
                state: page.state(),
                detail: page.word().unwrap_or_default().to_owned(),
                ..status
            },
            Ok(Look::Gone) => TicketStatus { state: TicketState::Gone, ..status },
            Ok(Look::Foreign) => TicketStatus { state: TicketState::Foreign, ..status },
            Err(error) => {
                call.debug(&error.message);
                failed.get_or_insert(error);
                continue;
            }
        });
    }
    match failed {
        Some(error) if states.tickets.is_empty() => Err(error),
        _ => Ok(states),
    }
}

/// What there is at a ticket's URL.
enum Look {
    /// It is none of this directory's.
    Foreign,
    Gone,
    /// Its state is open or closed.
    There {
        path: PathBuf,
        text: String,
        page: Page,
    },
}

fn look(local: &Local, url: &str) -> Result<Look> {
    let Some(path) = path_of(local, url) else { return Ok(Look::Foreign) };
    let text = match read(&path) {
        Ok(text) => text,
        // Where no other ticket is there, the directory may be one on which a disk is to be mounted.
        Err(cause) if cause.kind() == NotFound => match has_tickets(local) {
            Ok(true) => return Ok(Look::Gone),
            Ok(false) => {
                let why = "is not there, and no other ticket is: is its disk mounted?";
                return Err(Error::creation(format!("{} {why}", path.display())));
            }
            Err(cause) => return Err(failed("can't read the directory of", &path, &cause)),
        },
        Err(cause) => return Err(failed("can't read", &path, &cause)),
    };
    let page = Page::read(&text).ok_or_else(|| {
        Error::creation(format!("{} has no front matter between two lines of ---", path.display()))
    })?;
    if page.state() == TicketState::Unknown {
        return Err(Error::creation(format!(
            "{}: its state must be open or closed: correct the line \"state:\"",
            path.display()
        )));
    }
    Ok(Look::There { path, text, page })
}

/// The file that a URL names, if it is a ticket of this directory.
fn path_of(local: &Local, url: &str) -> Option<PathBuf> {
    let path = Url::parse(url).ok()?.to_file_path().ok()?;
    (is_ticket(&path) && path.parent() == Some(&local.directory)).then_some(path)
}

fn is_ticket(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| !name.starts_with('.') && name.ends_with(".md"))
}

fn has_tickets(local: &Local) -> io::Result<bool> {
    for entry in fs::read_dir(&local.directory)? {
        if is_ticket(&entry?.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file's text. What a symbolic link leads to isn't the ticket's own, and would stay as it was when a new file takes the link's place.
fn read(path: &Path) -> io::Result<String> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
    }
    Ok(text)
}

/// Puts a new file in the place of one that still is as it was read. It belongs to the host's user, and has the old one's mode if the host's
/// umask lets it: the sandbox lets nobody change a mode.
fn replace(
    local: &Local,
    path: &Path,
    was: &str,
    is: &str,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let temporary = local.temporary(&fingerprint(&path.to_string_lossy()));
    let prepared = (|| {
        let mut options = File::options();
        options.write(true).create_new(true);
        // One may be left of a worker that was killed.
        let _ = fs::remove_file(&temporary);
        #[cfg(unix)]
        let mode = {
            use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
            let mode = fs::metadata(path)?.mode() & 0o777;
            options.mode(mode);
            mode
        };
        let mut file = options.open(&temporary)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, PermissionsExt};
            let has = file.metadata()?.mode() & 0o777;
            let is_kept =
                has == mode || file.set_permissions(fs::Permissions::from_mode(mode)).is_ok();
            if !is_kept {
                warnings.push(format!(
                    "the file's mode is {has:o} now, and was {mode:o}: the host's umask takes the rest"
                ));
            }
        }
        file.write_all(is.as_bytes())?;
        file.sync_all()?;
        read(path)
    })();
    let replaced = match prepared {
        Ok(now) if now != was => {
            let why = format!("{} is being changed by somebody else", path.display());
            Err(Error::client(why).retry(Retry::Later))
        }
        Ok(_) => fs::rename(&temporary, path).map_err(|cause| failed("can't write", path, &cause)),
        Err(cause) => Err(failed("can't write", path, &cause)),
    };
    if replaced.is_err() {
        // It isn't there if it couldn't be made.
        let _ = fs::remove_file(&temporary);
    }
    replaced?;
    let kept = sync_directory(&local.directory);
    kept.map_err(|cause| failed("can't keep", path, &cause).retry(Retry::Unknown))
}

/// A ticket's file, line by line as people left it.
struct Page {
    /// The line before the front matter.
    begin: String,
    front: Vec<String>,
    /// The line behind it, and all below.
    rest: String,
    /// How its lines end.
    end: &'static str,
}

impl Page {
    /// None if it has no front matter.
    fn read(text: &str) -> Option<Page> {
        let mut lines = text.split_inclusive('\n');
        let begin = lines.next()?;
        if begin.trim_start_matches('\u{feff}').trim_end() != "---" {
            return None;
        }
        let is_end = |line: &str| matches!(line.trim_end(), "---" | "...");
        let (mut front, mut length) = (Vec::new(), begin.len());
        loop {
            let line = lines.next()?;
            if is_end(line) {
                break;
            }
            length += line.len();
            front.push(line.to_owned());
        }
        let end = if begin.ends_with("\r\n") { "\r\n" } else { "\n" };
        Some(Page { begin: begin.to_owned(), front, rest: text[length..].to_owned(), end })
    }

    fn text(&self) -> String {
        format!("{}{}{}", self.begin, self.front.concat(), self.rest)
    }

    fn has(&self, mark: &str) -> bool {
        self.rest.contains(mark)
    }

    /// What stands there as its state, if anything does.
    fn word(&self) -> Option<&str> {
        let value = self.front.iter().find_map(|line| line.strip_prefix("state:"))?;
        let value = value.split(" #").next().unwrap_or_default();
        Some(value.trim().trim_matches(['"', '\'']))
    }

    /// It is open where nobody said otherwise.
    fn state(&self) -> TicketState {
        match self.word().map(str::to_lowercase).as_deref() {
            None | Some("open") => TicketState::Open,
            Some("closed") => TicketState::Closed,
            Some(_) => TicketState::Unknown,
        }
    }

    /// Sets a value that fits on its line. Gives the place of that line.
    fn set(&mut self, name: &str, value: &str) -> usize {
        let begin = format!("{name}:");
        let line = format!("{begin} {value}{}", self.end);
        match self.front.iter().position(|line| line.starts_with(&begin)) {
            Some(at) => {
                self.front[at] = line;
                at
            }
            None => {
                self.front.push(line);
                self.front.len() - 1
            }
        }
    }

    /// Sets what the operator wants to be set, as JSON, which is YAML too.
    fn set_fields(&mut self, fields: &Map<String, Value>, warnings: &mut Vec<String>) {
        for (name, value) in fields {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if name.is_empty() || !name.chars().all(is_plain) || OWN.contains(&name.as_str()) {
                warnings.push(format!("{name}: is no field that a file can be given"));
                continue;
            }
            let at = self.set(name, &value.to_string()) + 1;
            // The value before may have gone on in the lines below.
            let goes_on = |line: &&String| line.starts_with([' ', '\t', '-', '\r', '\n']);
            let more = self.front[at..].iter().take_while(goes_on).count();
            self.front.drain(at..at + more);
        }
    }

    fn add(&mut self, comment: &str, mark: &str) {
        let end = self.end;
        let comment = comment.replace("\r\n", "\n").replace('\n', end);
        self.rest = format!("{}{end}{end}{comment}{end}{mark}{end}", self.rest.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{files, incident, open};
    use serde_json::json;
    use ticket_plugin_api::message::AskedTicket;
    use ticket_plugin_api::testkit::Fixture;
    use ticket_plugin_api::{Step, TicketName};

    const MARK: &str = "<!-- ticket-host step:s1 -->";

    fn step(action: Action, id: &str) -> Step {
        let fields = json!({"reason": "done", "key": "x", "a: b": 1}).as_object().unwrap().clone();
        Step { id: id.to_owned(), action, diff: Default::default(), fields }
    }

    /// A ticket, its file, and the plugin.
    fn made(directory: &Path) -> (Fixture, TicketName, PathBuf) {
        let mut local = open(directory);
        let ticket = local.create(incident(), "argus/1").unwrap();
        let path = Url::parse(&ticket.url).unwrap().to_file_path().unwrap();
        (local, TicketName { url: ticket.url, id: ticket.id }, path)
    }

    fn update(
        local: &mut Fixture,
        ticket: &TicketName,
        action: Action,
        id: &str,
    ) -> Result<Option<Updated>> {
        local.update(ticket, incident(), &step(action, id), true)
    }

    #[test]
    fn a_life_is_written_below_the_ticket_and_its_state_above() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let before = fs::read_to_string(&path).unwrap();
        let mut go = |action, id| update(&mut local, &ticket, action, id).unwrap().unwrap();
        let commented = go(Action::Comment, "s1");
        assert_eq!((commented.done, commented.state), (true, TicketState::Open));
        let closed = go(Action::Close, "s2");
        assert_eq!((closed.done, closed.state), (true, TicketState::Closed));
        assert_eq!(closed.warnings.len(), 2, "{closed:?}");
        let text = fs::read_to_string(&path).unwrap();
        let front = "\nkey: \"argus/1\"\nstate: closed\nreason: \"done\"\n---\n";
        assert!(text.contains(front), "{text}");
        let body = before.split_once("\n---\n").unwrap().1.trim_end();
        let below = format!("{body}\n\nmarkdown comment of");
        assert!(text.contains(&below) && text.contains(&format!("\n{MARK}\n\nmarkdown closing")));
        let opened = go(Action::Reopen, "s3");
        assert_eq!((opened.done, opened.state), (true, TicketState::Open));
        assert!(fs::read_to_string(&path).unwrap().contains("\nstate: open\n"));
        assert_eq!(files(dir.path()), [path], "and nothing is left beside it");
    }

    #[test]
    fn a_step_that_is_tried_again_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        for action in [Action::Comment, Action::Close] {
            for _ in 0..3 {
                assert!(update(&mut local, &ticket, action, "s1").unwrap().unwrap().done);
            }
        }
        assert_eq!(fs::read_to_string(path).unwrap().matches(MARK).count(), 1);
    }

    #[test]
    fn what_a_person_closed_or_opened_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let text = fs::read_to_string(&path).unwrap();
        let closed = text.replacen("\nkey:", "\nstate: \"Closed\"\nkey:", 1).replace('\n', "\r\n");
        for (text, action, state) in [
            (&text, Action::Reopen, TicketState::Open),
            (&closed, Action::Comment, TicketState::Closed),
            (&closed, Action::Close, TicketState::Closed),
        ] {
            fs::write(&path, text).unwrap();
            let updated = update(&mut local, &ticket, action, "s1").unwrap().unwrap();
            assert_eq!((updated.done, updated.state), (false, state));
            assert_eq!(fs::read_to_string(&path).unwrap(), *text);
        }
    }

    #[test]
    fn a_file_that_was_deleted_is_gone_and_one_elsewhere_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        local.create(incident(), "another").unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(update(&mut local, &ticket, Action::Close, "s1").unwrap(), None);
        // No ticket is there at all, nor the directory.
        for entry in files(dir.path()) {
            fs::remove_file(entry).unwrap();
        }
        let error = update(&mut local, &ticket, Action::Close, "s1").unwrap_err();
        assert!(error.message.contains("is its disk mounted?"), "{error}");
        fs::remove_dir(dir.path()).unwrap();
        update(&mut local, &ticket, Action::Close, "s1").unwrap_err();
        for url in ["file:///etc/passwd", "file:///etc/motd.md", "https://x.org/a.md", ""] {
            let named = TicketName { url: url.to_owned(), id: String::new() };
            let updated = update(&mut local, &named, Action::Close, "s1").unwrap().unwrap();
            assert_eq!((updated.done, updated.state), (false, TicketState::Foreign), "{url}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        for (text, says) in [
            ("# gw1 is down\n", "front matter"),
            ("---\ntitle: x\n", "front matter"),
            ("---\nstate: simmering\n---\n", "open or closed"),
        ] {
            fs::write(&path, text).unwrap();
            let error = update(&mut local, &ticket, Action::Comment, "s1").unwrap_err();
            assert!(error.message.contains(says), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "x".repeat(LONGEST as usize + 1)).unwrap();
        let error = update(&mut local, &ticket, Action::Comment, "s1").unwrap_err();
        assert!(error.message.contains("more than 16777216 bytes"), "{error}");
    }

    #[test]
    fn what_people_wrote_stays_and_so_do_their_line_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let text = "---\ntitle: x\nreason: |\n  two\n\n  lines\ntags:\n- a\n---\nmine\n";
        for end in ["\n", "\r\n"] {
            fs::write(&path, text.replace('\n', end)).unwrap();
            assert!(update(&mut local, &ticket, Action::Close, "s1").unwrap().unwrap().done);
            let text = fs::read_to_string(&path).unwrap();
            let front =
                "---\ntitle: x\nreason: \"done\"\ntags:\n- a\nstate: closed\n---\nmine\n\nmarkdown";
            assert!(text.starts_with(&front.replace('\n', end)), "{text}");
            assert_eq!(text.matches('\n').count(), text.matches(end).count(), "{text:?}");
        }
    }

    #[test]
    fn the_front_matter_ends_where_it_ends_and_what_stands_below_is_nobodys_field() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        for (begin, end) in [("---", "---"), ("---", "--- "), ("\u{feff}---", "...")] {
            for front in ["", "title: x\n", "# mine\nstate: open # as yet\n\n"] {
                let below = "reason:\n- mine\n\n---\nstate: down\n";
                fs::write(&path, format!("{begin}\n{front}{end}\n{below}")).unwrap();
                assert!(update(&mut local, &ticket, Action::Close, "s1").unwrap().unwrap().done);
                let text = fs::read_to_string(&path).unwrap();
                assert!(text.contains(&format!("\n{end}\n{}", below.trim_end())), "{text}");
                let front = text.split(&format!("\n{end}\n")).next().unwrap();
                assert!(front.contains("\nstate: closed") && front.contains("\nreason: \"done\""));
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_left_as_it_is_and_the_new_file_may_be_read_by_whom_the_old_one_could() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        update(&mut local, &ticket, Action::Comment, "s1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("moved.md");
        fs::copy(&path, &moved).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&moved, &path).unwrap();
        let before = fs::read_to_string(&moved).unwrap();
        let error = update(&mut local, &ticket, Action::Close, "s2").unwrap_err();
        assert!(error.message.contains("no regular file"), "{error}");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&moved).unwrap(), before);
    }

    #[test]
    fn a_file_that_somebody_else_changes_meanwhile_is_left_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let (_, _, path) = made(dir.path());
        let local = Local { directory: dir.path().to_owned() };
        let error =
            replace(&local, &path, "what it was", "what it is", &mut Vec::new()).unwrap_err();
        assert_eq!(error.retry, Retry::Later, "{error}");
        assert_eq!(files(dir.path()), [path]);
    }

    #[test]
    fn a_dry_run_shows_the_file_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let before = fs::read_to_string(&path).unwrap();
        let shown = local.rehearse(&ticket, incident(), &step(Action::Close, "s1"));
        let shown = shown.unwrap().unwrap();
        assert!(!shown.done && shown.preview.unwrap().contains("state: closed"));
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    fn asking(urls: &[&str]) -> StateRequest {
        let asked = |url: &&str| AskedTicket { url: (*url).to_owned(), ..AskedTicket::default() };
        StateRequest { tickets: urls.iter().map(asked).collect() }
    }

    #[test]
    fn states_are_told_by_the_urls_alone_with_the_words_that_stand_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let other = local.create(incident(), "another").unwrap();
        let elsewhere = "file:///etc/motd.md";
        let text = fs::read_to_string(&path).unwrap();
        for (line, state, detail) in [
            ("", TicketState::Open, ""),
            ("state: open # as yet\n", TicketState::Open, "open"),
            ("state: \"Closed\"\n", TicketState::Closed, "Closed"),
        ] {
            fs::write(&path, text.replacen("key:", &format!("{line}key:"), 1)).unwrap();
            let told = local.state(&asking(&[elsewhere, &ticket.url, &other.url])).unwrap();
            let [foreign, own, another] = &told.tickets[..] else { panic!("{told:?}") };
            assert_eq!((foreign.state, foreign.id.as_str()), (TicketState::Foreign, ""));
            assert_eq!((own.state, &own.id, own.detail.as_str()), (state, &ticket.id, detail));
            assert_eq!((another.state, &another.id), (TicketState::Open, &other.id));
        }
        fs::remove_file(&path).unwrap();
        let told = local.state(&asking(&[&ticket.url])).unwrap();
        assert_eq!(told.tickets[0].state, TicketState::Gone);
        assert_eq!(local.state(&asking(&[])).unwrap(), States::default());
    }

    #[test]
    fn a_ticket_whose_state_cannot_be_read_is_left_out_and_alone_it_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, path) = made(dir.path());
        let other = local.create(incident(), "another").unwrap();
        for (text, says) in [
            ("# gw1 is down\n", "front matter"),
            ("---\nstate: simmering\n---\n", "open or closed"),
            ("---\nstate:\n---\n", "open or closed"),
            (&"x".repeat(LONGEST as usize + 1), "more than 16777216 bytes"),
        ] {
            fs::write(&path, text).unwrap();
            let told = local.state(&asking(&[&ticket.url, &other.url])).unwrap();
            assert_eq!(told.tickets.len(), 1, "{told:?}");
            assert_eq!(told.tickets[0].url, other.url);
            let error = local.state(&asking(&[&ticket.url])).unwrap_err();
            assert!(error.message.contains(says), "{error}");
            assert!(local.host.logged.iter().all(|line| line.contains(says)), "{error}");
            local.host.logged.clear();
        }
        // The only two that there were: nobody knows whether they are gone.
        for entry in files(dir.path()) {
            fs::remove_file(entry).unwrap();
        }
        let error = local.state(&asking(&[&ticket.url, &other.url])).unwrap_err();
        assert!(error.message.contains("is its disk mounted?"), "{error}");
    }

    #[test]
    fn files_for_which_no_time_is_left_are_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let (mut local, ticket, _) = made(dir.path());
        let other = local.create(incident(), "another").unwrap();
        local.host.remaining = Duration::from_millis(900);
        let told = local.state(&asking(&[&ticket.url, &other.url])).unwrap();
        assert_eq!(told.tickets.len(), 1, "{told:?}");
    }
}
