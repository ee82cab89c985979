// Until the page is reloaded, the time in which a purchase can be undone ends with `window.end()`.
const real = window.setTimeout;
window.setTimeout = (call, time, ...rest) => {
  if (time !== 5000) return real(call, time, ...rest);
  window.end = () => call(...rest);
};
