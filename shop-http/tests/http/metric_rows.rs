//! The metrics that a service exposes, as rows that can be compared with those of `docs/metrics.md`.

use crate::prelude::*;

/// Returns a row for each metric in a response of `service`.
pub(crate) fn exposed_rows(service: &str, metrics: &str) -> BTreeSet<String> {
    let mut labels_by_metric = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut metric = "";
    for line in metrics.lines() {
        if let Some(name_and_kind) = line.strip_prefix("# TYPE ") {
            metric = name_and_kind;
            labels_by_metric.entry(metric).or_default();
        } else if !line.starts_with('#') {
            let before_values = line
                .split("=\"")
                .filter_map(|text| text.rsplit_once(['{', ',']));
            let labels = before_values.map(|(_, label)| label);
            let labels = labels.filter(|label| *label != "le" && !label.contains('"'));
            labels_by_metric.get_mut(metric).unwrap().extend(labels);
        }
    }
    let rows = labels_by_metric.into_iter().map(|(metric, labels)| {
        let labels: Vec<_> = labels.into_iter().collect();
        format!("{service}: {metric} {}", labels.join(" "))
    });
    rows.collect()
}
