// The second click of a double click that arrives after the response to the first one.
const late = new MouseEvent("click", { detail: 2, bubbles: true, cancelable: true });
document.getElementById("buy-button").dispatchEvent(late);
