"use strict";
(() => {
  // Charts are drawn when they come near the window, so that the page opens at once; on paper all of them.
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const drawn = new Set();
  const draw = (chart) => {
    if (drawn.has(chart)) return;
    drawn.add(chart);
    const figure = figures[chart.dataset.chart];
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    Plotly.newPlot(chart, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          near.unobserve(entry.target);
          draw(entry.target);
        }
      }
    },
    { rootMargin: "300px" },
  );
  for (const chart of charts) near.observe(chart);

  // A link to a section opens it. The contents are open where there is room for them.
  const contents = document.getElementById("contents");
  contents.open = matchMedia("(min-width: 62rem)").matches;
  const folds = [...document.querySelectorAll(".fold")];
  const reveal = (address) => {
    const section = address.length > 1 && document.getElementById(decodeURIComponent(address.slice(1)));
    const fold = section && section.querySelector(":scope > .fold");
    if (fold) fold.open = true;
  };
  reveal(location.hash);
  addEventListener("hashchange", () => reveal(location.hash));
  for (const link of contents.querySelectorAll("a")) {
    link.addEventListener("click", () => reveal(link.hash));
  }
  const all = document.getElementById("all");
  const label = () => {
    all.textContent = folds.every((fold) => fold.open) ? "Close all sections" : "Open all sections";
  };
  all.hidden = false;
  all.addEventListener("click", () => {
    const open = !folds.every((fold) => fold.open);
    for (const fold of folds) fold.open = open;
  });
  for (const fold of folds) fold.addEventListener("toggle", label);
  label();

  const onPaper = 640;
  const opened = [];
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      opened.push(details);
    }
    for (const chart of charts) {
      draw(chart);
      Plotly.relayout(chart, { width: onPaper });
    }
  });
  addEventListener("afterprint", () => {
    for (const chart of charts) Plotly.relayout(chart, { width: null, autosize: true });
    for (const details of opened.splice(0)) details.open = false;
  });

  const cards = [...document.querySelectorAll(".card")];
  if (!cards.length) return;
  const step = 24;
  let shown = step;
  const byClass = document.getElementById("filter-class");
  const byKind = document.getElementById("filter-kind");
  const count = document.getElementById("filter-count");
  const more = document.getElementById("more");
  const show = () => {
    const kinds = byKind.value.split(" ");
    const fitting = cards.filter(
      (card) =>
        (byClass.value === "" || card.dataset.class === byClass.value) &&
        (byKind.value === "" || kinds.includes(card.dataset.kind)),
    );
    const visible = new Set(fitting.slice(0, shown));
    for (const card of cards) card.hidden = !visible.has(card);
    count.textContent = `${visible.size} of ${fitting.length} picture${fitting.length === 1 ? "" : "s"}`;
    more.hidden = visible.size === fitting.length;
    more.textContent = `Show ${Math.min(step, fitting.length - visible.size)} more`;
  };
  for (const filter of [byClass, byKind]) {
    filter.addEventListener("change", () => {
      shown = step;
      show();
    });
  }
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = shown;
    shown += step;
    show();
    // Whoever goes by keyboard goes on at the first new picture, also where the button is gone.
    const next = cards.filter((card) => !card.hidden)[first];
    if (next) {
      next.tabIndex = -1;
      next.focus();
    }
  });
  show();
})();
