const { x, y, width, height } = document.getElementById("buy-button").getBoundingClientRect();
return [x, y, width, height, document.getElementById("from").getBoundingClientRect().y];
