// Whether the last list that the page has asked for was only its newest row.
const lists = performance.getEntriesByType("resource").filter((one) => one.name.includes("/v1/purchases?"));
return lists.at(-1)?.name.includes("&limit=1") ?? false;
