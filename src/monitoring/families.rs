//! Metrics in Prometheus' text format.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

use crate::telemetry::Durations;

/// The media type of the metrics.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// The families of one collection, in the order in which they are shown.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

/// A label of a series: its name and its value.
type Label<'a> = (&'static str, &'a str);

impl Families {
    /// What only ever grows while the program runs.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(vec![], value)]);
    }

    /// The same for several series.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, u64)>,
    ) {
        let metrics = series.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(number(value));
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    /// What goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(vec![], value)]);
    }

    /// A whole number that goes up and down.
    pub(super) fn level(&mut self, name: &str, help: &str, value: u64) {
        self.gauge(name, help, number(value));
    }

    /// The same for several series.
    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Vec<Label<'a>>, f64)>,
    ) {
        let metrics = series.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    /// How long something takes.
    pub(super) fn durations(&mut self, name: &str, help: &str, durations: &Durations) {
        self.family(name, help, MetricType::HISTOGRAM, vec![durations.metric()]);
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            // A family without series is none.
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// All of them as text.
    pub(super) fn text(&self) -> String {
        // It refuses families without names or series, of which there are none, and what cannot be written to.
        TextEncoder::new().encode_to_string(&self.0).unwrap_or_default()
    }
}

fn pairs(labels: Vec<Label<'_>>) -> Vec<LabelPair> {
    let pair = |(name, value): Label<'_>| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.into_iter().map(pair).collect()
}

/// Prometheus' numbers are floating-point: beyond 2^53 they are not exact any more.
#[expect(clippy::cast_precision_loss, reason = "as Prometheus has it")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_shown_with_help_type_and_escaped_labels() {
        let mut families = Families::default();
        families.counter("a_total", "How many.", 3);
        families.gauges(
            "b",
            "How much.",
            [(vec![("l", "x\"y\\z\n")], 0.5), (vec![("l", "")], 2.0)],
        );
        families.gauges("nothing", "Not shown.", []);
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
            # HELP b How much.\n# TYPE b gauge\nb{l=\"x\\\"y\\\\z\\n\"} 0.5\nb{l=\"\"} 2\n";
        assert_eq!(families.text(), expected);
    }
}
