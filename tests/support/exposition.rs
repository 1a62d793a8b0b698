//! A strict reader of Prometheus' text format, version 0.0.4: what it takes, every collector takes.

use std::collections::{BTreeMap, BTreeSet};

use super::program::Answered;

/// The metrics of one scrape.
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

/// A metric with all of its series.
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) kind: String,
    /// Name, labels and value, in their order.
    samples: Vec<(String, Labels, f64)>,
}

type Labels = BTreeMap<String, String>;

impl Exposition {
    /// The metrics that a server has answered with.
    pub(crate) fn of(answered: &Answered) -> Self {
        assert_eq!(answered.status, 200, "{}", answered.body);
        assert_eq!(answered.content_type, "text/plain; version=0.0.4");
        assert_eq!(answered.cache_control, "no-store");
        Self::parse(&answered.body)
    }

    /// Reads it; whatever is not as it has to be fails the test.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line does not end");
        let mut families = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = comment(line, "HELP");
            let (typed, kind) = comment(lines.next().expect("HELP is followed by TYPE"), "TYPE");
            assert_eq!(name, typed);
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line));
            }
            let family = Family {
                help: help.to_owned(),
                kind: kind.to_owned(),
                samples,
            };
            family.check(name);
            assert!(
                families.insert(name.to_owned(), family).is_none(),
                "{name} comes twice"
            );
        }
        Self { families }
    }

    /// The only value of a metric.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.labelled(name, &[])
    }

    /// The value of the series with these labels.
    pub(crate) fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels: Labels = labels.collect();
        let found = self.samples(name).find(|(_, of, _)| *of == labels);
        found.map_or_else(|| panic!("no {name} {labels:?}"), |(_, _, value)| *value)
    }

    /// The values of a metric by one of its labels.
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let series = self.samples(name);
        series
            .map(|(_, labels, value)| (labels[label].clone(), *value))
            .collect()
    }

    /// All metrics by their names.
    pub(crate) fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = &(String, Labels, f64)> {
        let of_family = |family: &str| self.families.get(family);
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let family = of_family(name).or_else(|| base.and_then(of_family));
        let samples = family.map_or(&[] as &[_], |family| &family.samples);
        samples.iter().filter(move |(of, ..)| of == name)
    }
}

impl Family {
    /// The names of its labels, but for those of a histogram's buckets.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        names.map(String::as_str).filter(|name| *name != "le").collect()
    }

    fn check(&self, name: &str) {
        assert!(is_name(name), "{name:?}");
        assert!(self.help.ends_with('.'), "{name}: {:?}", self.help);
        assert!(!self.samples.is_empty(), "{name} has no series");
        assert_eq!(
            self.kind == "counter",
            name.ends_with("_total"),
            "{name} is a {}",
            self.kind
        );
        let mut series = BTreeSet::new();
        for (of, labels, value) in &self.samples {
            assert!(value.is_finite() && *value >= 0.0, "{of} {labels:?} is {value}");
            assert!(series.insert((of, labels)), "{of} {labels:?} comes twice");
            assert!(self.kind == "histogram" || of == name, "{of} is among {name}");
        }
        match self.kind.as_str() {
            "counter" | "gauge" => {}
            "histogram" => self.check_histogram(name),
            other => panic!("{name} is of the unknown type {other}"),
        }
    }

    fn check_histogram(&self, name: &str) {
        let (mut last_bound, mut last_count) = (f64::NEG_INFINITY, 0.0);
        let (total, buckets) = (
            self.samples.len() - 2,
            self.samples.iter().take(self.samples.len() - 2),
        );
        assert!(total > 1);
        for (of, labels, count) in buckets {
            assert_eq!(*of, format!("{name}_bucket"));
            let bound: f64 = labels["le"].parse().expect("a bound is a number");
            assert!(bound > last_bound && *count >= last_count, "{name}: {labels:?}");
            (last_bound, last_count) = (bound, *count);
        }
        assert_eq!(last_bound, f64::INFINITY, "{name} has no last bucket");
        let ends: Vec<&str> = self.samples[total..].iter().map(|(of, ..)| of.as_str()).collect();
        assert_eq!(ends, [format!("{name}_sum"), format!("{name}_count")]);
        assert_eq!(self.samples[total + 1].2, last_count, "{name}");
    }
}

fn comment<'a>(line: &'a str, keyword: &str) -> (&'a str, &'a str) {
    let rest = line
        .strip_prefix("# ")
        .and_then(|rest| rest.strip_prefix(keyword));
    let rest = rest.and_then(|rest| rest.strip_prefix(' '));
    rest.and_then(|rest| rest.split_once(' '))
        .unwrap_or_else(|| panic!("no {keyword}: {line:?}"))
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no value: {line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{line:?}");
        return (series.to_owned(), Labels::new(), value);
    };
    assert!(is_name(name), "{line:?}");
    let mut rest = labels
        .strip_suffix('}')
        .unwrap_or_else(|| panic!("no end of labels: {line:?}"));
    let mut read = Labels::new();
    while !rest.is_empty() {
        let (label, behind) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no label: {line:?}"));
        let (value, behind) = quoted(behind);
        assert!(is_name(label) && !label.contains(':'), "{line:?}");
        assert!(
            read.insert(label.to_owned(), value).is_none(),
            "a label comes twice: {line:?}"
        );
        rest = match behind.strip_prefix(',') {
            Some(more) => more,
            None => {
                assert!(behind.is_empty(), "{line:?}");
                behind
            }
        };
    }
    (name.to_owned(), read, value)
}

/// The value up to the closing quote, and what is behind that.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("{other:?} is escaped in {text:?}"),
            },
            plain => value.push(plain),
        }
    }
    panic!("no closing quote: {text:?}")
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.chars().all(is_part) && text.starts_with(|c: char| !c.is_ascii_digit())
}
