(function () {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  if (!data.excerpts.length) return;
  const byId = (id) => document.getElementById(id);
  const film = byId("film"), own = byId("source-sound"), view = byId("view"), curve = byId("curve");
  const state = { index: -1, wipe: 0.5, view: "wipe", wanted: null, addresses: {} };
  const current = () => data.excerpts[state.index];
  const now = () => current().start_s + film.currentTime;

  function addressOf(place) {
    if (!place.embedded) return place.address;
    if (!state.addresses[place.address]) {
      const holder = [...document.querySelectorAll("script[data-media]")].find(
        (one) => one.dataset.media === place.address);
      const bytes = Uint8Array.from(atob(holder.textContent.trim()), (c) => c.charCodeAt(0));
      const blob = new Blob([bytes], { type: place.kind });
      state.addresses[place.address] = URL.createObjectURL(blob);
    }
    return state.addresses[place.address];
  }

  function draw() {
    const one = current();
    const plan = drawPlan(state.view, state.wipe, one.width, one.height, one.has_source);
    if (view.width !== plan.width || view.height !== one.height) {
      view.width = plan.width;
      view.height = one.height;
    }
    const paint = view.getContext("2d");
    if (film.readyState >= 2) {
      for (const part of plan.parts) {
        paint.drawImage(film, part.sx, part.sy, part.sw, part.sh, part.dx, 0, part.sw, part.sh);
      }
      if (plan.line !== null) {
        paint.fillStyle = "#fff";
        const thick = Math.max(1, Math.round((2 * view.width) / Math.max(1, view.clientWidth)));
        paint.fillRect(plan.line - thick / 2, 0, thick, one.height);
      }
    }
    byId("clock").textContent = clockTime(now());
    byId("needle").style.left = `${(100 * now()) / Math.max(data.duration, 0.001)}%`;
    drawCurve();
  }

  function drawCurve() {
    const one = current();
    byId("curve-figure").classList.toggle("hidden", !one.opening.length && !one.loudness.length);
    byId("opening-key").classList.toggle("hidden", !one.opening.length);
    const scale = window.devicePixelRatio || 1;
    const width = Math.round(curve.clientWidth * scale), height = Math.round(110 * scale);
    if (!width) return;
    curve.width = width;
    curve.height = height;
    const paint = curve.getContext("2d");
    const colours = getComputedStyle(document.documentElement);
    paint.fillStyle = colours.getPropertyValue("--line");
    for (const run of curvePaths(one.loudness, -60, 0, width, height)) {
      paint.beginPath();
      paint.moveTo(run[0][0], height);
      run.forEach(([x, y]) => paint.lineTo(x, y));
      paint.lineTo(run[run.length - 1][0], height);
      paint.fill();
    }
    const most = Math.max(0.1, ...one.opening.filter((value) => value !== null));
    paint.strokeStyle = colours.getPropertyValue("--accent");
    paint.lineWidth = 2 * scale;
    for (const run of curvePaths(one.opening, 0, most, width, height)) {
      paint.beginPath();
      run.forEach(([x, y], number) => (number ? paint.lineTo(x, y) : paint.moveTo(x, y)));
      paint.stroke();
    }
    const x = (film.currentTime / Math.max(one.end_s - one.start_s, 0.001)) * width;
    paint.fillStyle = colours.getPropertyValue("--ink");
    paint.fillRect(x - scale, 0, 2 * scale, height);
  }

  function follow() {
    draw();
    if (!film.paused) {
      if (own.getAttribute("src") && Math.abs(own.currentTime - film.currentTime) > 0.12) {
        own.currentTime = film.currentTime;
      }
      requestAnimationFrame(follow);
    }
  }

  function setSound() {
    const choice = byId("sound").value;
    film.muted = choice !== "result";
    own.muted = choice !== "source";
    if (!film.paused && choice === "source" && own.getAttribute("src")) own.play().catch(() => {});
  }

  function load(index, offset) {
    state.index = index;
    state.wanted = offset;
    const one = current();
    film.src = addressOf(one.film);
    if (one.source_sound) own.src = addressOf(one.source_sound);
    else own.removeAttribute("src");
    film.playbackRate = own.playbackRate = Number(byId("speed").value);
    for (const button of byId("excerpts").children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.index) === index));
    }
    setSound();
  }

  // Go to a time of the result; what no excerpt shows leads to the nearest one.
  function seek(seconds) {
    const place = locate(data.excerpts, seconds);
    const wasPlaying = !film.paused;
    if (place.index !== state.index) {
      load(place.index, place.offset);
      if (wasPlaying) play();
    } else {
      film.currentTime = place.offset;
    }
  }

  function play() {
    own.currentTime = film.currentTime;
    film.play().catch(() => {});
    if (own.getAttribute("src") && byId("sound").value === "source") own.play().catch(() => {});
  }

  function toggle() {
    if (film.paused) play();
    else film.pause();
  }

  function step(frames) {
    film.pause();
    const one = current();
    film.currentTime = frameTime(film.currentTime, one.frame_rate, frames, one.end_s - one.start_s);
  }

  function setView(name) {
    state.view = name;
    byId("shown").value = name;
    draw();
  }

  function setWipe(share) {
    state.wipe = clamp(share, 0, 1);
    byId("wipe").value = String(Math.round(100 * state.wipe));
    draw();
  }

  function act(action) {
    const one = current();
    if (action.what === "play") toggle();
    if (action.what === "frame") step(action.value);
    if (action.what === "second") seek(clamp(now() + action.value, one.start_s, one.end_s));
    if (action.what === "edge") film.currentTime = action.value * (one.end_s - one.start_s);
    if (action.what === "view") setView(action.value);
    if (action.what === "wipe") setWipe(state.wipe + action.value);
    if (action.what === "excerpt") {
      load(clamp(state.index + action.value, 0, data.excerpts.length - 1), 0);
    }
    if (action.what === "sound") {
      const choice = byId("sound");
      choice.selectedIndex = (choice.selectedIndex + 1) % choice.length;
      setSound();
    }
  }

  function lane(name, ranges, text) {
    const row = document.createElement("div");
    row.className = `lane ${name}`;
    for (const one of ranges) {
      const button = document.createElement("button");
      const label = `${text(one)}, ${clockTime(one.start_s)} to ${clockTime(one.end_s)}`;
      button.title = label;
      button.setAttribute("aria-label", label);
      button.style.left = `${(100 * one.start_s) / data.duration}%`;
      if (one.end_s > one.start_s) {
        button.style.width = `${(100 * (one.end_s - one.start_s)) / data.duration}%`;
      }
      button.addEventListener("click", () => seek(one.start_s));
      row.append(button);
    }
    const title = document.createElement("span");
    title.className = "name";
    title.textContent = { dubbed: "dubbed, left as it is", shots: "shots", low: "low figures",
      remarks: "warnings", shown: "previews" }[name];
    row.append(title);
    byId("timeline").append(row);
  }

  function build() {
    const remarks = [...document.querySelectorAll(".remarks .seek")].map((button) => ({
      start_s: Number(button.dataset.at), end_s: Number(button.dataset.at),
      text: button.parentElement.firstChild.textContent.trim() }));
    if (data.shots.length) lane("shots", data.shots, (one) => `shot ${one.shot}`);
    lane("dubbed", data.passed, (one) => one.text);
    if (data.low.length) lane("low", data.low, (one) => one.text);
    if (remarks.length) lane("remarks", remarks, (one) => one.text);
    if (data.excerpts.length > 1) {
      lane("shown", data.excerpts, () => "preview");
      data.excerpts.forEach((one, index) => {
        const button = document.createElement("button");
        button.textContent = `${clockTime(one.start_s)} to ${clockTime(one.end_s)}`;
        button.dataset.index = String(index);
        button.addEventListener("click", () => load(index, 0));
        byId("excerpts").append(button);
      });
    }
    const needle = document.createElement("div");
    needle.id = "needle";
    byId("timeline").append(needle);
    if (!data.excerpts[0].has_source) {
      state.view = "result";
      byId("shown").value = "result";
      byId("shown").disabled = true;
    }
  }

  function listen() {
    film.addEventListener("loadeddata", () => {
      if (state.wanted) film.currentTime = state.wanted;
      state.wanted = null;
      draw();
    });
    film.addEventListener("seeked", () => {
      if (own.getAttribute("src")) own.currentTime = film.currentTime;
      draw();
    });
    film.addEventListener("play", () => { byId("play").textContent = "❚❚"; follow(); });
    film.addEventListener("pause", () => {
      own.pause();
      byId("play").textContent = "▶";
      draw();
    });
    film.addEventListener("ended", () => {
      if (byId("loop").checked) { film.currentTime = 0; play(); }
    });
    byId("play").addEventListener("click", toggle);
    byId("back").addEventListener("click", () => step(-1));
    byId("forward").addEventListener("click", () => step(1));
    byId("shown").addEventListener("change", (event) => setView(event.target.value));
    byId("wipe").addEventListener("input", (event) => setWipe(Number(event.target.value) / 100));
    byId("sound").addEventListener("change", setSound);
    byId("speed").addEventListener("change", (event) => {
      film.playbackRate = own.playbackRate = Number(event.target.value);
    });
    for (const button of document.querySelectorAll(".seek")) {
      button.addEventListener("click", () => seek(Number(button.dataset.at)));
    }
    const drag = (event) => {
      if (event.buttons !== 1 || state.view !== "wipe") return;
      const box = view.getBoundingClientRect();
      // The picture may be narrower than its element.
      const shown = Math.min(box.width, (box.height * view.width) / view.height);
      setWipe((event.clientX - box.left - (box.width - shown) / 2) / shown);
    };
    view.addEventListener("pointerdown", drag);
    view.addEventListener("pointermove", drag);
    curve.addEventListener("click", (event) => {
      const box = curve.getBoundingClientRect(), one = current();
      film.currentTime = ((event.clientX - box.left) / box.width) * (one.end_s - one.start_s);
    });
    document.addEventListener("keydown", (event) => {
      const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      const isPressed = event.key === " " && /^(BUTTON|SUMMARY)$/.test(event.target.tagName);
      const action = keyAction(event.key);
      if (!action || isTyping || isPressed || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      act(action);
    });
    window.addEventListener("resize", draw);
  }

  build();
  listen();
  load(0, 0);
})();
