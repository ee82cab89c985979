// Keeps the files that are saved, and their names.
window.saved = [];
URL.createObjectURL = (file) => {
  window.saved.push(file);
  return "#saved";
};
HTMLAnchorElement.prototype.click = function () {
  window.saved.push(this.download);
};
