//! What was measured, as tables on standard output, and as a page with a plot for the README.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::statistics::figure;

/// The newest results of all parts. A run can measure some parts anew; the others keep their results.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    sections: Vec<Section>,
}

/// A part of the measurement.
#[derive(Debug, Serialize, Deserialize)]
struct Section {
    name: String,
    /// The machine that it was measured on.
    machine: String,
    parts: Vec<Part>,
}

/// A table of results, the bars that are plotted of it, and the goals that it should reach.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    bars: Vec<Bar>,
    goals: Vec<Goal>,
}

/// A bar of the plot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub unit: String,
    /// Whether it is a result of the host's, and not of a rival's.
    pub own: bool,
}

/// A bound that a number should keep.
#[derive(Debug, Serialize, Deserialize)]
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
    /// Reads the report that the last run wrote.
    pub fn load() -> Report {
        let text = fs::read(beside("results.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Begins a section. What is reported from now on belongs to it, and replaces its older results.
    pub fn begin(&mut self, name: &str) {
        self.sections.retain(|section| section.name != name);
        let section = Section { name: name.to_owned(), machine: machine(), parts: Vec::new() };
        self.sections.push(section);
    }

    pub fn part(&mut self, title: &str, columns: &[&str]) -> &mut Part {
        let section = self.sections.last_mut().expect("a part was begun");
        section.parts.push(Part {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
            bars: Vec::new(),
            goals: Vec::new(),
        });
        println!("\n{title}\n{}", columns.join(" | "));
        section.parts.last_mut().expect("one was just added")
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

/// In pixels: the height of a line and of a bar, and where bars begin and may end.
const LINE: usize = 20;
const LEFT: usize = 330;
const WIDTH: usize = 760;

impl Report {
    /// Writes the figures, and the page and the plot of them, with the parts in this order.
    pub fn save(&mut self, order: &[&str]) -> io::Result<()> {
        let place_of = |name: &str| order.iter().position(|other| *other == name);
        self.sections.sort_by_key(|section| place_of(&section.name));
        fs::write(beside("results.json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(beside("results.md"), self.page())?;
        fs::write(beside("results.svg"), self.plot())
    }

    fn page(&self) -> String {
        let mut page = "<!-- Written by tests/bench. -->\n\
             # Measured, side by side\n\nValues are medians of interleaved runs; in brackets p10 to \
             p90. What each row is: [README.md](README.md).\n\n![Plot](results.svg)\n"
            .to_owned();
        let parts = self
            .sections
            .iter()
            .flat_map(|section| section.parts.iter().map(|part| (part, section.machine.as_str())));
        let mut told = "";
        for (part, machine) in parts {
            if machine != told {
                page += &format!("\nOn {machine}.\n");
                told = machine;
            }
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
        let parts = self.sections.iter().flat_map(|section| &section.parts);
        for part in parts.filter(|part| !part.bars.is_empty()) {
            let title = escaped(&part.title);
            shapes +=
                &format!("<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>\n", y + 5);
            y += LINE;
            let most = part.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
            for bar in &part.bars {
                let width = (bar.value / most * (WIDTH - LEFT - 130) as f64).max(1.0);
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

/// A file beside this one.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Describes the machine that this runs on.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}", model.unwrap_or("an unnamed processor"))
}
