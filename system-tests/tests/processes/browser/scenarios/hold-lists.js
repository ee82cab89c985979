// Holds requests for lists until `window.release()`.
const real = window.fetch;
const held = new Promise((resolve) => {
  window.release = () => {
    window.fetch = real;
    resolve();
  };
});
window.fetch = (path, ...rest) => (path.startsWith("v1/") ? held.then(() => real(path, ...rest)) : real(path, ...rest));
