//! What was measured, as tables on standard output, and as a page with a plot for the README.

use std::path::Path;
use std::{fs, io};

use crate::statistics::figure;

/// Where the page and its plot lie.
const PLACE: &str = env!("CARGO_MANIFEST_DIR");

#[derive(Debug, Default)]
pub struct Report {
    parts: Vec<Part>,
}

/// A table, with what is plotted of it and what it should reach.
#[derive(Debug)]
pub struct Part {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    bars: Vec<Bar>,
    goals: Vec<Goal>,
}

/// A bar of the plot.
#[derive(Debug)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub unit: &'static str,
    /// Whether it is the host's, and no rival's.
    pub own: bool,
}

/// A ratio that should be reached.
#[derive(Debug)]
pub struct Goal {
    what: String,
    value: f64,
    wanted: String,
    met: bool,
}

impl Goal {
    pub fn at_least(what: &str, value: f64, bound: f64) -> Goal {
        let wanted = format!("at least {}", figure(bound));
        Goal { what: what.to_owned(), value, wanted, met: value >= bound }
    }

    pub fn at_most(what: &str, value: f64, bound: f64) -> Goal {
        let wanted = format!("at most {}", figure(bound));
        Goal { what: what.to_owned(), value, wanted, met: value <= bound }
    }
}

impl Report {
    pub fn part(&mut self, title: &str, columns: &[&str]) -> &mut Part {
        self.parts.push(Part {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
            bars: Vec::new(),
            goals: Vec::new(),
        });
        println!("\n{title}\n{}", columns.join(" | "));
        self.parts.last_mut().expect("one was just added")
    }
}

impl Part {
    pub fn row(&mut self, cells: &[String]) {
        println!("{}", cells.join(" | "));
        self.rows.push(cells.to_vec());
    }

    pub fn bar(&mut self, bar: Bar) {
        self.bars.push(bar);
    }

    pub fn goal(&mut self, goal: Goal) {
        println!("{goal}");
        self.goals.push(goal);
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let met = if self.met { "met" } else { "MISSED" };
        write!(f, "{}: {} (goal: {}): {met}", self.what, figure(self.value), self.wanted)
    }
}

/// Pixels: a line, a bar, and where bars begin and may end.
const LINE: usize = 20;
const LEFT: usize = 330;
const WIDTH: usize = 760;

impl Report {
    /// Writes the page and the plot.
    pub fn save(&self) -> io::Result<()> {
        let place = Path::new(PLACE);
        fs::write(place.join("results.md"), self.page())?;
        fs::write(place.join("results.svg"), self.plot())
    }

    fn page(&self) -> String {
        let mut page = format!(
            "<!-- Written by `cargo bench -p ticket-host-bench`. -->\n# Measured, side by side\n\n\
             {}. Values are medians of interleaved runs; in brackets p10 to p90. What each row is: \
             [README.md](README.md).\n\n![Plot](results.svg)\n",
            machine()
        );
        for part in &self.parts {
            page += &format!("\n## {}\n\n", part.title);
            page += &format!("| {} |\n|{}\n", part.columns.join(" | "), part.rule());
            for row in &part.rows {
                page += &format!("| {} |\n", row.join(" | "));
            }
            if !part.goals.is_empty() {
                page.push('\n');
            }
            for goal in &part.goals {
                page += &format!("- {goal}\n");
            }
        }
        page
    }

    fn plot(&self) -> String {
        let (mut shapes, mut y) = (String::new(), LINE);
        for part in self.parts.iter().filter(|part| !part.bars.is_empty()) {
            let title = escaped(&part.title);
            shapes +=
                &format!("<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>\n", y + 5);
            y += LINE;
            let most = part.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
            for bar in &part.bars {
                let width = (bar.value / most * (WIDTH - LEFT - 110) as f64).max(1.0);
                let rival = if bar.own { "#2a6f97" } else { "#b0b0b0" };
                let (text, label) = (y + 5, escaped(&bar.label));
                shapes += &format!(
                    "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\n\
                     <rect x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{rival}\"/>\n\
                     <text x=\"{:.1}\" y=\"{text}\">{} {}</text>\n",
                    LEFT - 8,
                    y - 7,
                    LEFT as f64 + width + 6.0,
                    figure(bar.value),
                    bar.unit
                );
                y += LINE;
            }
            y += LINE / 2;
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{shapes}</svg>\n"
        )
    }
}

impl Part {
    fn rule(&self) -> String {
        self.columns
            .iter()
            .enumerate()
            .map(|(i, _)| if i == 0 { "---|" } else { "---:|" })
            .collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// What it was measured on.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.unwrap_or("an unnamed processor"))
}
