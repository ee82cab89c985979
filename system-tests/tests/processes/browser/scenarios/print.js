// Whether the button prints the page.
window.print = () => {
  window.printed = true;
};
document.getElementById("print").click();
return window.printed;
