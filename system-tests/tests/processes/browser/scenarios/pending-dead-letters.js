return fetch("v1/dead-letters")
  .then((answer) => answer.json())
  .then(({ items }) => items.length);
