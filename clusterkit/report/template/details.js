"use strict";
// One image: larger, what is known of it, its neighbours and why they are near.

const Details = (() => {
  const panel = get("details");
  let back = null;
  let last = null;
  let selector = null;

  /** Return the ImageNet classes of an image as [number, probability], the most probable first. */
  function classesOf(row) {
    if (!Data.classes) return [];
    const found = [];
    for (let i = 5 * row; i < 5 * row + 5; i++) {
      if (Data.classes.rows[i] !== NOWHERE) found.push([Data.classes.rows[i], Data.classes.shares[i] / 255]);
    }
    return found;
  }

  const className = (number) => printable(Data.classes.names[number]).replaceAll("_", " ");

  /** Return why two images are near, in a few words. */
  function why(row, other, similarity) {
    const ours = new Set(classesOf(row).map(([number]) => number));
    const shared = classesOf(other).filter(([number]) => ours.has(number));
    const said = [`${twoDecimals(similarity)} similar`];
    if (shared.length) said.push(`both ${shared.slice(0, 2).map(([number]) => className(number)).join(", ")}`);
    else if (ours.size && classesOf(other).length) said.push("no class in common");
    if (Data.labels) {
      const [one, two] = [Data.labels.rows[row], Data.labels.rows[other]];
      if (one >= 0 && two >= 0 && one !== two) said.push(`labelled ${printable(Data.labels.names[two])}`);
    }
    return said.join("; ");
  }

  /** Return the image as large as it is to be had, the file itself or its thumbnail; say which in a note. */
  function picture(row, note) {
    const shown = make("div", { class: "large" }, Pictures.element(row));
    // A page from a server has no access to the files of the disk, unless clusterkit serves it.
    if ((location.protocol === "file:" || get("upload-part")) && Pictures.has(row)) {
      const image = new Image();
      image.alt = "";
      image.decoding = "async";
      image.addEventListener("load", () => shown.replaceChildren(image));
      image.addEventListener("error", () => {
        note.append(make("br"), "Shown small: the file is not where it was, or of a format that browsers cannot show.");
      });
      image.src = linkTo(row);
    }
    return shown;
  }

  function fact(name, ...value) {
    return [make("dt", {}, name), make("dd", {}, ...value)];
  }

  function facts(row) {
    const label = Decisions.labels[row];
    const list = make("dl");
    const before = Data.clusters[row];
    const origin = before === label ? "" : `, moved from ${before === NOISE ? "noise" : before}`;
    list.append(...fact("Cluster", Decisions.title(label) + origin));
    if (Data.labels && Data.labels.rows[row] >= 0) {
      list.append(...fact("Label", make("bdi", {}, printable(Data.labels.names[Data.labels.rows[row]]))));
    }
    const distance = Data.distances[row];
    if (before === label && !Number.isNaN(distance)) {
      const note = Data.exemplars.has(row) ? ", the exemplar" : "";
      list.append(...fact("Distance to centre", distance.toFixed(3) + note));
    }
    const seen = Data.inspection;
    if (seen) {
      if (!Number.isNaN(seen.silhouettes[row])) list.append(...fact("Silhouette", twoDecimals(seen.silhouettes[row])));
      const marks = [];
      if (seen.isDoubtful[row]) marks.push("doubtful: between two clusters");
      if (seen.isOdd[row]) marks.push("odd: unlike its cluster");
      if (marks.length) list.append(...fact("Note", marks.join(", ")));
      if (seen.nearest[row] >= 0) list.append(...fact("Nearest other", Decisions.title(seen.nearest[row])));
    }
    const classes = classesOf(row).filter(([, share]) => share >= 0.01).slice(0, 3);
    if (classes.length) {
      const said = classes.map(([number, share]) => `${className(number)} ${Math.round(100 * share)} %`);
      list.append(...fact("Looks like", said.join(", ")));
    }
    return list;
  }

  function neighbors(row) {
    const { count, rows, similarities, exact } = Data.neighbors;
    const list = make("ul", { class: "near" });
    for (let i = row * count; i < (row + 1) * count; i++) {
      const other = rows[i];
      if (other >= Data.n) continue;
      const cluster = Decisions.title(Decisions.labels[other]);
      const open = make("button", { type: "button", class: "tile", title: printable(Data.paths[other]) },
        Pictures.element(other),
        make("span", {}, why(row, other, similarities[i] / 10000), make("br"), cluster));
      open.addEventListener("click", () => Choice.open(other, { focus: true }));
      list.append(make("li", {}, open));
    }
    if (!list.children.length) return [make("p", { class: "note" }, "Its neighbours are unknown.")];
    const title = exact ? "Nearest images" : "Nearest images (approximate)";
    return [make("h3", {}, title), list];
  }

  function close() {
    panel.hidden = true;
    Choice.open(null);
    if (back?.isConnected) back.focus();
    back = null;
  }

  function show(row, focus) {
    if (row === null) return;
    if (panel.hidden) back = document.activeElement;
    // A button that was pressed is made again, and stays where the keyboard is.
    const pressed = [...panel.querySelectorAll("button")].indexOf(document.activeElement);
    const path = printable(Data.paths[row]);
    const isMarked = Decisions.marks.has(row);
    const button = (text, does) => {
      const made = make("button", { type: "button" }, text);
      made.addEventListener("click", does);
      return made;
    };
    selector = button("", () => Choice.toggle(row));
    updateSelector();
    const title = make("h3", { tabindex: "-1", class: "path" }, make("bdi", {}, path));
    const file = make("p", {}, Pictures.has(row)
      ? make("a", { href: linkTo(row), target: "_blank", rel: "noopener" }, "Open the file")
      : "The file is gone or cannot be read.");
    panel.replaceChildren(
      make("div", { class: "row" },
        button("Close", close),
        button(isMarked ? "Unmark" : "Mark", () => Page.mark([row], !isMarked)),
        selector,
      ),
      title,
      picture(row, file),
      file,
      facts(row),
      ...neighbors(row),
    );
    panel.hidden = false;
    if (focus) title.focus();
    else if (pressed >= 0) panel.querySelectorAll("button")[pressed]?.focus();
    if (row !== last) panel.scrollTop = 0;
    last = row;
  }

  function updateSelector() {
    const row = Choice.state.open;
    if (!selector || row === null) return;
    selector.textContent = Choice.selected.has(row) ? "Unselect" : "Select";
    // What the filters hide cannot be selected.
    selector.disabled = !Choice.isShown[row];
  }

  function begin() {
    Choice.selection.add(updateSelector);
    Choice.filtered.add(updateSelector);
    Choice.opened.add(show);
    Decisions.changed.add(() => { if (!panel.hidden) show(Choice.state.open, false); });
    panel.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  }

  return { begin, why, classesOf };
})();
