// The service is degraded. The first purchase is refused, and the second one gets no response.
window.sent = 0;
window.fetch = (path, options) => {
  if (path.startsWith("health")) {
    const health = { status: "degraded", parts: { log: false } };
    return Promise.resolve(new Response(JSON.stringify(health)));
  }
  if (options?.method !== "POST" || window.sent++ > 0) return new Promise(() => {});
  const body = JSON.stringify({ title: "Service unavailable", outcome: "not_sent" });
  return Promise.resolve(new Response(body, { status: 503, headers: { "retry-after": "1" } }));
};
