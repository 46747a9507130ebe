(function () {
  for (const section of document.querySelectorAll(".sortable")) {
    const body = section.querySelector("tbody");
    const rows = [...body.rows];
    const heads = [...section.querySelectorAll("thead th")];
    const values = rows.map((row) => [...row.cells].map((cell) => cell.dataset.value));
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent));
    const titles = heads.map((head) => head.textContent.trim());
    const search = section.querySelector(".filter-text");
    const choices = [...section.querySelectorAll(".filter-choice")];

    function filter() {
      const chosen = {};
      for (const choice of choices) chosen[titles.indexOf(choice.dataset.title)] = choice.value;
      let shown = 0;
      rows.forEach((row, place) => {
        const fits = isShown(texts[place], search.value, chosen);
        row.classList.toggle("hidden", !fits);
        shown += fits;
      });
      section.querySelector(".count").textContent = `${shown} of ${rows.length}`;
    }

    for (const choice of choices) {
      const column = titles.indexOf(choice.dataset.title);
      for (const text of [...new Set(texts.map((row) => row[column]))].sort()) {
        const option = document.createElement("option");
        option.value = option.textContent = text;
        choice.append(option);
      }
      choice.addEventListener("change", filter);
    }
    search.addEventListener("input", filter);
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        sortedPlaces(values, column, direction).forEach((place) => body.append(rows[place]));
      });
    });
    filter();
  }
})();
