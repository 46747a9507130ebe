"use strict";
// How rows are sorted and filtered, without a page: tested by itself.

// Numbers by size, texts by their letters; what is missing comes last in both directions.
function compareValues(one, other, direction) {
  const missing = [one, other].map((value) => value === "" || value === "-");
  if (missing[0] || missing[1]) return missing[0] - missing[1];
  const numbers = [Number(one), Number(other)];
  const order = numbers.every(Number.isFinite)
    ? numbers[0] - numbers[1]
    : one.localeCompare(other, undefined, { numeric: true, sensitivity: "base" });
  return direction * order;
}

// Places of the rows in the order of a column; equal ones stay as they were.
function sortedPlaces(rows, column, direction) {
  const places = rows.map((_, place) => place);
  return places.sort((a, b) => compareValues(rows[a][column], rows[b][column], direction) || a - b);
}

// Whether a row holds all words, in any case, and each chosen value in its column.
function isShown(texts, words, chosen) {
  const whole = texts.join(" ").toLowerCase();
  const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = Object.entries(chosen).every(([column, value]) => !value || texts[column] === value);
  return fits && asked.every((word) => whole.includes(word));
}

if (typeof module !== "undefined") module.exports = { compareValues, sortedPlaces, isShown };
