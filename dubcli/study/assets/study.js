(function () {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const byId = (id) => document.getElementById(id);
  const place = `dub-study-${data.study}`;
  const trials = Object.fromEntries(data.trials.map((trial) => [trial.name, trial]));
  const address = Object.fromEntries(
    data.trials.flatMap((trial) => trial.films.map((film) => [film.name, film.address])));
  let state = stored() || { voter: "", order: viewingOrder(data.trials, Math.random), at: 0,
    answers: {}, watched: {} };

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(place));
    } catch (error) {
      return null; // this browser keeps nothing for files
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch (error) {
      // as above: the votes live as long as the page
    }
  }

  function show(name) {
    for (const id of ["welcome", "trial", "thanks"]) byId(id).classList.toggle("hidden", id !== name);
  }

  const shown = () => state.order[state.at];
  const watched = () => (state.watched[shown().trial] = state.watched[shown().trial] || {});
  const answer = () => (state.answers[shown().trial] = state.answers[shown().trial] || {});

  function showTrial() {
    show("trial");
    const one = shown();
    byId("place").textContent = `Pair ${state.at + 1} of ${state.order.length}`;
    byId("progress").max = state.order.length;
    byId("progress").value = state.at;
    for (const side of ["left", "right"]) byId(side).src = address[one[side]];
    const reference = byId("reference");
    if (reference) reference.src = trials[one.trial].reference || "";
    for (const input of document.querySelectorAll("#trial input")) {
      input.checked = answer()[input.name] === input.value;
    }
    byId("before").disabled = state.at === 0;
    tell();
  }

  function tell() {
    const text = missing(answer(), watched());
    byId("missing").textContent = text;
    byId("after").disabled = text !== "";
  }

  function go(steps) {
    for (const video of document.querySelectorAll("video")) video.pause();
    state.at += steps;
    keep();
    if (state.at >= state.order.length) {
      state.at = state.order.length - 1;
      show("thanks");
    } else {
      showTrial();
    }
  }

  function save(ending, kind, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = `votes-${data.study}-${Math.random().toString(16).slice(2, 8)}.${ending}`;
    document.body.append(link);
    link.click();
    link.remove();
  }

  const votes = () => asVotes(data.study, state.voter, state.order, state.answers);

  byId("voter").value = state.voter || Math.random().toString(36).slice(2, 8);
  byId("start").addEventListener("click", () => {
    state.voter = byId("voter").value.trim() || "viewer";
    keep();
    showTrial();
  });
  for (const side of ["left", "right"]) {
    byId(side).addEventListener("ended", () => { watched()[side] = true; keep(); tell(); });
    byId(side).addEventListener("play", () => {
      // Two voices at once help nobody.
      for (const other of document.querySelectorAll("video")) {
        if (other !== byId(side)) other.pause();
      }
    });
  }
  for (const input of document.querySelectorAll("#trial input")) {
    input.addEventListener("change", () => { answer()[input.name] = input.value; keep(); tell(); });
  }
  byId("before").addEventListener("click", () => go(-1));
  byId("after").addEventListener("click", () => go(1));
  byId("again").addEventListener("click", showTrial);
  byId("save-json").addEventListener("click", () =>
    save("json", "application/json", JSON.stringify(votes(), null, 1)));
  byId("save-csv").addEventListener("click", () => save("csv", "text/csv", asCsv(votes())));
})();
