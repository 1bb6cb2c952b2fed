"use strict";
// The clusters as lists of images: the twin of the map.

const List = (() => {
  const root = get("list");
  // Of very many clusters, fewer images each, since an element takes time to make.
  const FIRST = Decisions.clusters().size > 200 ? 6 : 24, MORE = 96;
  // How many images of each cluster are shown, and the parts of the page.
  const shown = new Map();
  const parts = new Map();
  let last = null;

  // The list of images that had the keyboard last.
  let visited = null;

  const isLong = (number) => shown.get(number) ?? FIRST;

  /** Return the name of a cluster as one types it. */
  const nameOf = (number) => printable(ClustersTable.unescape(Decisions.names.get(number) ?? ""));

  /** Return the images of a cluster that are shown, the most central first. */
  function rowsOf(number) {
    return (Decisions.clusters().get(number) ?? []).filter((row) => Choice.isShown[row]);
  }

  function option(row) {
    const seen = Data.inspection;
    const path = printable(Data.paths[row]);
    const said = [path];
    if (Data.exemplars.has(row) && Decisions.labels[row] === Data.clusters[row]) said.push("exemplar");
    if (!Pictures.has(row)) said.push("no picture");
    if (seen?.isDoubtful[row]) said.push("doubtful: between two clusters");
    if (seen?.isOdd[row]) said.push("odd: unlike its cluster");
    if (Decisions.marks.has(row)) said.push("marked");
    const made = make("li", {
      role: "option", id: `image-${row}`, title: said.join(", "), "aria-label": said.join(", "),
      "aria-selected": String(Choice.selected.has(row)),
    }, Pictures.element(row), make("span", { class: "tick", "aria-hidden": "true" }));
    if (Decisions.marks.has(row)) made.classList.add("marked");
    if (seen?.isDoubtful[row]) made.classList.add("doubtful");
    if (seen?.isOdd[row]) made.classList.add("odd");
    made.dataset.row = row;
    return made;
  }

  function fill(part, number) {
    const rows = rowsOf(number);
    const some = rows.slice(0, isLong(number));
    const active = part.sheet.getAttribute("aria-activedescendant");
    part.sheet.replaceChildren(...some.map(option));
    const item = active && part.sheet.querySelector(`#${active}`);
    if (item) item.classList.add("active");
    else part.sheet.removeAttribute("aria-activedescendant");
    const left = rows.length - some.length;
    part.more.hidden = left <= 0;
    part.more.textContent = `Show ${Math.min(MORE, left)} more of ${rows.length.toLocaleString("en")}`;
    part.element.hidden = !rows.length;
  }

  function describe(number) {
    const all = Decisions.clusters().get(number) ?? [];
    const said = [plural(all.length, "image")];
    const known = rowsOf(number).length;
    if (known !== all.length) said.push(`${known.toLocaleString("en")} shown`);
    const marked = all.filter((row) => Decisions.marks.has(row)).length;
    if (marked) said.push(`${marked} marked`);
    if (Data.kept.has(number)) said.push("kept as named or pinned");
    const near = Data.inspection?.neighbors[number];
    if (near?.length) {
      const [other, distance] = near[0];
      said.push(`nearest: ${Decisions.title(other)} (${distance.toFixed(2)})`);
    }
    return said.join(" · ");
  }

  function makePart(number) {
    const id = `cluster-${number === NOISE ? "noise" : number}`;
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.backgroundColor = Choice.colorOf(number);
    const heading = make("h3", { id }, number === NOISE ? "Noise" : `Cluster ${number}`);
    const size = make("p", { class: "note" });
    const head = make("div", { class: "row head" }, swatch, heading);
    let field = null;
    if (number !== NOISE) {
      field = make("input", {
        "aria-label": `Name of cluster ${number}`, placeholder: "name", maxlength: 200, size: 24,
        dir: "auto", autocomplete: "off",
      });
      field.addEventListener("change", () => Page.rename(number, field));
      field.addEventListener("keydown", (event) => {
        if (event.key === "Escape") field.value = nameOf(number);
      });
      head.append(field);
    }
    const what = number === NOISE ? "noise" : `cluster ${number}`;
    const merge = make("select", { "aria-label": `Merge ${what} into` });
    merge.append(make("option", { value: "" }, "Merge into…"));
    offer(merge, number);
    // Arrow keys change a list at once, so that a button does it.
    const go = make("button", { type: "button", class: "main", hidden: true }, "Merge");
    merge.addEventListener("change", () => { go.hidden = merge.value === ""; });
    go.addEventListener("click", () => Page.merge(number, Number(merge.value)));
    const all = make("button", { type: "button" }, "Select all");
    all.addEventListener("click", () => Choice.select(rowsOf(number)));
    head.append(size, all, merge, go);
    const sheet = make("ul", {
      class: "sheet", role: "listbox", tabindex: "0", "aria-multiselectable": "true",
      "aria-label": `Images of ${what}`,
    });
    const more = make("button", { type: "button" });
    more.addEventListener("click", () => {
      shown.set(number, isLong(number) + MORE);
      fill(part, number);
      if (more.hidden) sheet.focus({ preventScroll: true });
    });
    const element = make("section", { class: "cluster", "aria-labelledby": id }, head, sheet, more);
    const part = { element, sheet, more, size, field, merge, go };
    listen(part, number);
    return part;
  }

  /** Fill a list of the clusters that images can be put into, and return how many there are. */
  function offer(select, except) {
    const numbers = [...Decisions.clusters().keys()].filter((one) => one !== except && one !== NOISE);
    const first = select.firstElementChild;
    const before = select.value;
    select.replaceChildren(first, ...numbers.map((one) => make("option", { value: one }, Decisions.title(one))));
    select.value = numbers.includes(Number(before)) && before !== "" ? before : "";
    return numbers.length;
  }

  // Keys and clicks in a sheet.

  function activate(part, item, { extend = false } = {}) {
    for (const old of part.sheet.querySelectorAll(".active")) old.classList.remove("active");
    if (!item) return;
    item.classList.add("active");
    part.sheet.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
    if (extend) Choice.select([Number(item.dataset.row)]);
  }

  function listen(part, number) {
    const { sheet } = part;
    const current = () => sheet.querySelector(".active") ?? sheet.firstElementChild;
    sheet.addEventListener("focus", () => {
      visited = sheet;
      if (sheet.matches(":focus-visible")) activate(part, current());
    });
    sheet.addEventListener("click", (event) => {
      const item = event.target.closest("[data-row]");
      if (!item) return;
      const row = Number(item.dataset.row);
      activate(part, item);
      if (event.shiftKey && last !== null) {
        const rows = rowsOf(number);
        const [a, b] = [rows.indexOf(last), rows.indexOf(row)].sort((x, y) => x - y);
        Choice.select(a < 0 ? [row] : rows.slice(a, b + 1));
      } else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) {
        Choice.toggle(row);
      } else {
        Choice.open(row);
      }
      last = row;
    });
    sheet.addEventListener("keydown", (event) => {
      const items = [...sheet.children];
      const index = items.indexOf(current());
      if (index < 0 || event.altKey) return;
      const top = items[0].offsetTop;
      const perRow = Math.max(1, items.filter((item) => item.offsetTop === top).length);
      const steps = {
        ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow,
        Home: -items.length, End: items.length,
      };
      if (event.key in steps) {
        const next = Math.max(0, Math.min(items.length - 1, index + steps[event.key]));
        if (event.shiftKey) Choice.select([Number(items[index].dataset.row)]);
        activate(part, items[next], { extend: event.shiftKey });
      } else if (event.key === " ") {
        Choice.toggle(Number(items[index].dataset.row));
      } else if (event.key === "Enter") {
        Choice.open(Number(items[index].dataset.row), { focus: true });
      } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
        Choice.select(rowsOf(number));
      } else if (event.key === "m" && Choice.selected.size) {
        get("target").focus();
      } else if (event.key === "Escape") {
        Choice.clear();
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  /** Bring the page in line with the decisions and the filter. */
  function update() {
    const clusters = Decisions.clusters();
    for (const [number, part] of parts) {
      if (clusters.has(number)) continue;
      part.element.remove();
      parts.delete(number);
    }
    let before = null;
    for (const number of clusters.keys()) {
      if (!parts.has(number)) parts.set(number, makePart(number));
      const part = parts.get(number);
      // An element that is moved would lose the focus.
      const place = before ? before.nextElementSibling : root.firstElementChild;
      if (place !== part.element) root.insertBefore(part.element, place);
      before = part.element;
      if (part.field) part.field.value = nameOf(number);
      part.size.textContent = describe(number);
      part.merge.hidden = !offer(part.merge, number);
      part.go.hidden = part.merge.value === "";
      fill(part, number);
    }
    nothing.hidden = [...parts.values()].some((part) => !part.element.hidden);
    root.append(nothing);
  }

  /** Give the keyboard to the list of images that had it last, or to that of a cluster. */
  function focus(number = null) {
    const isThere = visited?.isConnected && visited.offsetParent;
    const sheet = isThere ? visited : parts.get(number)?.sheet ?? root.querySelector("[role=listbox]");
    sheet?.focus({ preventScroll: true });
  }

  const nothing = make("p", { class: "note", hidden: true }, "No image matches the filters.");

  function updateSelected() {
    for (const item of root.querySelectorAll("[data-row]")) {
      item.setAttribute("aria-selected", String(Choice.selected.has(Number(item.dataset.row))));
    }
  }

  function begin() {
    root.replaceChildren();
    get("list-help").hidden = get("list-words").hidden = false;
    update();
    Choice.filtered.add(update);
    Choice.selection.add(updateSelected);
    Decisions.changed.add(update);
  }

  return { begin, focus, offer, parts, nameOf };
})();
