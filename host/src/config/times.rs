//! Times of the config file, such as "15m".

use std::time::Duration;

use crate::error::{Error, Result};

const DAY: u64 = 24 * 60 * 60;
pub(super) const WEEK: Duration = Duration::from_secs(7 * DAY);
pub(super) const YEAR: Duration = Duration::from_secs(365 * DAY);

/// The time that a setting's text means: a number and a unit (s, m, h or d), or several of these, up to `longest`.
///
/// # Errors
/// A settings error: it is none, or longer.
pub(super) fn read(name: &str, text: &str, longest: Duration) -> Result<Duration> {
    let help = || {
        format!(
            "write a number and s, m, h or d, such as \"15m\", up to \"{}d\"",
            longest.as_secs() / DAY
        )
    };
    let time = humantime::parse_duration(text.trim()).map_err(|cause| {
        Error::settings(format!("{name}: is no time")).cause(cause).help(help())
    })?;
    if time > longest {
        return Err(Error::settings(format!("{name}: is too long")).help(help()));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit_and_has_a_bound() {
        for (text, seconds) in [("0s", 0), ("15m", 900), (" 1h 30m ", 5400), ("7d", 7 * 86_400)] {
            assert_eq!(read("quiet", text, WEEK).unwrap().as_secs(), seconds, "{text}");
        }
        for (text, why) in [
            ("", "quiet: is no time"),
            ("15", "quiet: is no time"),
            ("-1m", "quiet: is no time"),
            ("soon", "quiet: is no time"),
            ("8d", "quiet: is too long"),
            ("99999999999999999999d", "quiet: is no time"),
        ] {
            let error = read("quiet", text, WEEK).unwrap_err();
            assert_eq!(error.message, why, "{text}");
            assert!(error.help.unwrap().contains("up to \"7d\""), "{text}");
        }
    }
}
