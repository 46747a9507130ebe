"use strict";
// What the player decides, without a page: tested by itself.

function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}

function clockTime(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const rest = (tenths % 600) / 10;
  const tail = `${rest < 10 ? "0" : ""}${rest.toFixed(1)}`;
  if (minutes < 60) return `${minutes}:${tail}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${tail}`;
}

// The excerpt that shows a time of the result, or the nearest one, and the time inside it.
function locate(excerpts, seconds) {
  let best = { index: 0, offset: 0 };
  let least = Infinity;
  excerpts.forEach((one, index) => {
    const inside = clamp(seconds, one.start_s, one.end_s);
    const distance = Math.abs(seconds - inside);
    if (distance < least) {
      least = distance;
      best = { index, offset: inside - one.start_s };
    }
  });
  return best;
}

// The middle of the frame that is so many frames away, which a seek hits surely.
function frameTime(seconds, frameRate, frames, length) {
  const number = Math.floor(seconds * frameRate + 1e-3) + frames;
  const last = Math.max(0, Math.round(length * frameRate) - 1);
  return (clamp(number, 0, last) + 0.5) / frameRate;
}

// What is drawn: rectangles of the film (source above result) and where they go on the canvas.
function drawPlan(view, wipe, width, height, hasSource) {
  const top = hasSource ? height : 0;
  const whole = (y, x) => ({ sx: 0, sy: y, sw: width, sh: height, dx: x });
  if (!hasSource || view === "result") return { width, parts: [whole(top, 0)], line: null };
  if (view === "source") return { width, parts: [whole(0, 0)], line: null };
  if (view === "side") return { width: 2 * width, parts: [whole(0, 0), whole(top, width)], line: null };
  const x = Math.round(width * clamp(wipe, 0, 1));
  const parts = [];
  if (x > 0) parts.push({ sx: 0, sy: 0, sw: x, sh: height, dx: 0 });
  if (x < width) parts.push({ sx: x, sy: top, sw: width - x, sh: height, dx: x });
  return { width, parts, line: x };
}

// What a key does: a word and a number, or null.
function keyAction(key) {
  const views = { 1: "wipe", 2: "side", 3: "source", 4: "result" };
  if (views[key]) return { what: "view", value: views[key] };
  const actions = {
    " ": ["play", 0], ",": ["frame", -1], ".": ["frame", 1], ArrowLeft: ["second", -1],
    ArrowRight: ["second", 1], Home: ["edge", 0], End: ["edge", 1], "[": ["excerpt", -1],
    "]": ["excerpt", 1], "-": ["wipe", -0.05], "+": ["wipe", 0.05], "=": ["wipe", 0.05],
    m: ["sound", 1],
  };
  const found = actions[key];
  return found ? { what: found[0], value: found[1] } : null;
}

// Runs of points of a curve in a box; a gap where there is no value.
function curvePaths(values, least, most, width, height) {
  const paths = [];
  let run = [];
  values.forEach((value, index) => {
    if (value === null || !Number.isFinite(value)) {
      if (run.length) paths.push(run);
      run = [];
      return;
    }
    const share = most > least ? (value - least) / (most - least) : 0;
    run.push([(index / Math.max(1, values.length - 1)) * width, height * (1 - clamp(share, 0, 1))]);
  });
  if (run.length) paths.push(run);
  return paths;
}

if (typeof module !== "undefined") {
  module.exports = { clamp, clockTime, locate, frameTime, drawPlan, keyAction, curvePaths };
}
