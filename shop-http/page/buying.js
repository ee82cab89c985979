// The form that buys.

import { buy } from "./api.js";
import { byId } from "./elements.js";
import { forPeople, isDecimal } from "./exact.js";
import { RecordingForm } from "./form.js";

const needed = (problem) => (text) => (text === "" ? problem : "");

const FIELDS = [
  { id: "username", member: "username", problemOf: needed("Enter the name of the buyer.") },
  { id: "userid", member: "userid", problemOf: needed("Enter the user ID of the buyer.") },
  { id: "price", member: "price", problemOf: problemOfPrice },
];

function problemOfPrice(text) {
  if (text === "") return "Enter the price, such as 29.99.";
  return isDecimal(text) ? "" : "Enter the price as a number, such as 29.99.";
}

/** Makes the form work; `onBought` is called with each accepted purchase, `onFailure` when one was not accepted. */
export function setUpBuying(onBought, onFailure) {
  const onRecorded = (taken) => {
    byId("price").value = "";
    onBought(taken);
    return `Bought for ${forPeople(taken.price)}, and recorded.`;
  };
  new RecordingForm("buy", { thing: "purchase", fields: FIELDS, send: buy, onRecorded, onFailure });
}
