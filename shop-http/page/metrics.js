// The metrics of the service, as Prometheus writes them.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a text: `{name, labels, value}`, the value as a number. */
export function samplesOf(text) {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) return [];
    const read = [...labels.matchAll(LABEL)].map(([, label, text]) => [label, text.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char))]);
    return [{ name, labels: Object.fromEntries(read), value: value === "inf" || value === "+Inf" ? Infinity : Number(value) }];
  });
}

/**
 * Each topic with its unread records and the age of the oldest of them in seconds, its retention, and its pending dead
 * letters, also by reason, where known.
 */
export function topicsOf(samples) {
  const topics = new Map();
  const members = {
    shop_log_slowest_group_records: "unread", shop_ingest_oldest_unread_seconds: "oldestUnread", shop_log_retention_seconds: "retention", shop_dead_letters_waiting: "deadLetters",
  };
  for (const { name, labels, value } of samples) {
    const member = members[name];
    if (member === undefined || labels.topic === undefined) continue;
    const topic = topics.get(labels.topic) ?? { topic: labels.topic };
    // Partitions and reasons add up.
    topic[member] = (topic[member] ?? 0) + value;
    if (labels.reason !== undefined) topic.byReason = { ...topic.byReason, [labels.reason]: value };
    topics.set(labels.topic, topic);
  }
  return [...topics.values()].sort((one, other) => one.topic.localeCompare(other.topic));
}
