"use strict";
// What the page of a study decides, without a page: tested by itself.

const QUESTIONS = ["picture", "sync", "likeness"];

// A random order; `random` gives numbers from 0 to below 1.
function shuffled(list, random) {
  const order = [...list];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

// Pairs in an order of this viewer's own, each with its sides by chance.
function viewingOrder(trials, random) {
  return shuffled(trials, random).map((trial) => {
    const films = shuffled(trial.films.map((film) => film.name), random);
    return { trial: trial.name, left: films[0], right: films[1] };
  });
}

// What is still to be done on a pair, in words; empty where nothing is.
function missing(answer, watched) {
  const seen = ["left", "right"].filter((side) => !watched[side]);
  if (seen.length) return `Watch ${seen.map((s) => (s === "left" ? "X" : "Y")).join(" and ")} to the end.`;
  const marks = ["left", "right"].flatMap((side) => QUESTIONS.map((q) => `${side}-${q}`));
  const open = [...marks, "preferred"].filter((name) => !answer[name]);
  return open.length ? `${open.length} answers are missing.` : "";
}

// The votes as they are saved: by the films' names, so that sides do not matter.
function asVotes(study, voter, order, answers) {
  const votes = order.filter((one) => answers[one.trial]).map((one) => {
    const answer = answers[one.trial];
    const scores = {};
    for (const side of ["left", "right"]) {
      scores[one[side]] = {};
      for (const q of QUESTIONS) scores[one[side]][q] = Number(answer[`${side}-${q}`]);
    }
    const preferred = answer.preferred === "same" ? "" : one[answer.preferred];
    return { trial: one.trial, left: one.left, scores, preferred };
  });
  return { dub_study_votes: 1, study, voter, votes };
}

// A cell of a CSV: quoted, and no formula where a spreadsheet would see one.
function csvCell(value) {
  const text = String(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function asCsv(content) {
  const head = ["study", "voter", "trial", "film", ...QUESTIONS, "preferred"];
  const rows = content.votes.flatMap((vote) => Object.entries(vote.scores).map(([film, marks]) => [
    content.study, content.voter, vote.trial, film, ...QUESTIONS.map((q) => marks[q]),
    vote.preferred === film ? 1 : 0,
  ]));
  return [head, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

if (typeof module !== "undefined") {
  module.exports = { QUESTIONS, shuffled, viewingOrder, missing, asVotes, csvCell, asCsv };
}
