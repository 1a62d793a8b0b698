//! What was measured, as a table and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::thread;

use serde_json::{Value, json};

/// What a figure is meant to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured value: the median of its runs.
#[derive(Debug)]
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    runs: Vec<f64>,
    target: Option<Target>,
}

impl Figure {
    /// A figure of at least one run.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, runs: Vec<f64>) -> Self {
        assert!(!runs.is_empty(), "it was measured");
        Self {
            what: what.into(),
            unit,
            runs,
            target: None,
        }
    }

    /// The same with a target.
    pub(crate) fn with(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    fn median(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        }
    }

    /// Whether the target is reached, where there is one.
    fn reached(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(bound) => self.median() >= bound,
            Target::AtMost(bound) => self.median() <= bound,
        })
    }
}

/// All figures of one run of the benchmark.
pub(crate) struct Report {
    smoke: bool,
    load: String,
    figures: Vec<(&'static str, Figure)>,
}

impl Report {
    pub(crate) fn new(smoke: bool) -> Self {
        Self {
            smoke,
            load: load(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, part: &'static str, figures: Vec<Figure>) {
        self.figures
            .extend(figures.into_iter().map(|figure| (part, figure)));
    }

    /// One line a figure.
    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "{} cores, load before {}, after {}{}\n\n{:<8} {:<58} {:>12} {:<6} {:>10} {:<7} runs\n",
            cores(),
            self.load,
            load(),
            if self.smoke {
                "; a smoke run: the figures mean nothing"
            } else {
                ""
            },
            "part",
            "what",
            "median",
            "",
            "target",
            "",
        );
        for (part, figure) in &self.figures {
            let target = match figure.target {
                Some(Target::AtLeast(bound)) => format!(">= {bound}"),
                Some(Target::AtMost(bound)) => format!("<= {bound}"),
                None => String::new(),
            };
            let result = figure
                .reached()
                .map_or("", |reached| if reached { "ok" } else { "missed" });
            let runs: Vec<String> = figure.runs.iter().map(|run| rounded(*run)).collect();
            let _ = writeln!(
                table,
                "{part:<8} {:<58} {:>12} {:<6} {target:>10} {result:<7} {}",
                figure.what,
                rounded(figure.median()),
                figure.unit,
                runs.join(" ")
            );
        }
        table
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> String {
        let figures = self.figures.iter().map(|(part, figure)| {
            let target = figure.target.map(|target| match target {
                Target::AtLeast(bound) => json!({ "at_least": bound }),
                Target::AtMost(bound) => json!({ "at_most": bound }),
            });
            json!({
                "part": part, "what": figure.what, "unit": figure.unit, "median": figure.median(),
                "runs": figure.runs, "target": target, "reached": figure.reached(),
            })
        });
        let document = json!({
            "smoke": self.smoke, "cores": cores(), "load_before": self.load, "load_after": load(),
            "figures": figures.collect::<Vec<Value>>(),
        });
        document.to_string()
    }
}

/// Four digits that count.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The load of the last minute, as the kernel tells it.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
