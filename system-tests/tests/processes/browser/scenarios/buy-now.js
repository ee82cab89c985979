// Ends the time in which the purchase can be undone, once it has begun.
const now = document.getElementById("buy-now");
now?.click();
return now !== null;
