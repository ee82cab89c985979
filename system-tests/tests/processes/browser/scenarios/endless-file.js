// A file that does not end until it is cancelled.
const endless = (signal) =>
  new ReadableStream({
    start: (stream) => {
      stream.enqueue(new Uint8Array(50000));
      signal.addEventListener("abort", () => stream.error(new Error("cancelled")));
    },
  });
window.fetch = async (path, { signal }) => new Response(endless(signal), { headers: { "content-type": "text/csv" } });
