//! The older text format of Prometheus's, for who doesn't ask for OpenMetrics
//! (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).

use std::collections::HashMap;
use std::fmt::Write;

/// What an OpenMetrics text says, in that format: a family is named as its samples are, and there is no unit and no end.
pub(super) fn of(open_metrics: &str) -> String {
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    for line in open_metrics.lines() {
        let said = line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' '));
        kinds.extend(said);
    }
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let about = line.strip_prefix("# ").and_then(|about| about.split_once(' '));
        let Some((keyword, said)) = about else {
            if !line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
            }
            continue;
        };
        let (name, rest) = said.split_once(' ').unwrap_or((said, ""));
        let kind = kinds.get(name).copied().unwrap_or_default();
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            other => ("", other),
        };
        let rest = match keyword {
            "HELP" => rest,
            "TYPE" => kind,
            _ => continue,
        };
        writeln!(text, "# {keyword} {name}{suffix} {rest}").expect("a String takes all of it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples_are_and_there_is_no_unit_and_no_end() {
        let open = "# HELP a_tickets Tries.\n# TYPE a_tickets counter\na_tickets_total{b=\"# TYPE x\"} 1\n\
            # HELP a_call_seconds Time.\n# TYPE a_call_seconds histogram\n# UNIT a_call_seconds seconds\na_call_seconds_sum 0.5\n\
            # HELP a_build Version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n# EOF\n";
        let classic = "# HELP a_tickets_total Tries.\n# TYPE a_tickets_total counter\na_tickets_total{b=\"# TYPE x\"} 1\n\
            # HELP a_call_seconds Time.\n# TYPE a_call_seconds histogram\na_call_seconds_sum 0.5\n\
            # HELP a_build_info Version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n";
        assert_eq!(of(open), classic);
    }
}
