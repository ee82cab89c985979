// Whether the list is at its beginning, and the button is in sight.
const { top, bottom } = document.getElementById("selected-replay").getBoundingClientRect();
return [scrollY < 100, top >= 0 && bottom <= innerHeight];
