return [...document.querySelectorAll("#purchase dd")].slice(0, 4).map((one) => one.innerText);
