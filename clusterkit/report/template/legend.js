"use strict";
// What the colours of the map mean.

const Legend = (() => {
  const MOST = 30;
  const list = get("legend");

  /** Return the colours that are on the map, as [number, text, how many images]. */
  function entries() {
    if (Choice.state.color === "cluster") {
      return [...Decisions.clusters()].map(([number, rows]) => [number, Decisions.title(number), rows.length]);
    }
    const counts = new Map();
    for (const label of Data.labels.rows) counts.set(label, (counts.get(label) ?? 0) + 1);
    const text = (number) => (number < 0 ? "no label" : printable(Data.labels.names[number]));
    const numbers = [...counts.keys()].sort((a, b) => (a < 0) - (b < 0) || a - b);
    return numbers.map((number) => [number, text(number), counts.get(number)]);
  }

  function update() {
    const all = entries();
    const items = all.slice(0, MOST).map(([number, text, size]) => {
      const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
      swatch.style.backgroundColor = Choice.colorOf(number);
      return make("li", {}, swatch, make("bdi", {}, text), ` ${size.toLocaleString("en")}`);
    });
    if (all.length > MOST) items.push(make("li", {}, `and ${all.length - MOST} more`));
    list.replaceChildren(...items);
  }

  function begin() {
    update();
    Choice.colored.add(update);
    Decisions.changed.add(update);
  }

  return { begin };
})();
