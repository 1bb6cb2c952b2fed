"use strict";
// The bar of decisions, and the start of the page.

const Page = (() => {
  const say = (text) => { get("announce").textContent = text; };

  // Decisions, by their buttons.  One that disappears or is disabled leaves the keyboard nowhere.

  const hasFocus = () => document.activeElement !== document.body && document.activeElement?.isConnected;

  /** Give up the selection; the keyboard goes back to the images that it came from. */
  function leaveSelection(number = null) {
    const isHere = get("selected").contains(document.activeElement);
    Choice.clear();
    if (isHere) List.focus(number);
  }

  function rename(number, field) {
    const typed = field.value.trim();
    const before = List.nameOf(number);
    if (typed === before) return;
    const name = ClustersTable.escape(typed);
    const problem = Decisions.whyNot(number, name);
    if (problem) {
      field.value = before;
      status(problem);
      return;
    }
    const what = name ? `is “${printable(name)}”` : "has no name";
    Decisions.act(`cluster ${number} ${what}`, [{ name: number, as: name }]);
  }

  function moveTo(rows, number, what, steps = []) {
    const moved = rows.filter((row) => Decisions.labels[row] !== number);
    if (!moved.length && !steps.length) return;
    Decisions.act(what, [{ move: moved, to: number }, ...steps]);
    Choice.filter();
  }

  function merge(number, target) {
    const rows = Decisions.clusters().get(number);
    const name = Decisions.names.get(number);
    const steps = name && !Decisions.names.get(target) ? [{ name: target, as: name }] : [];
    moveTo(rows, target, `${Decisions.title(number)} merged into ${Decisions.title(target)}`, steps);
    get(`cluster-${target}`)?.scrollIntoView({ block: "nearest" });
    if (!hasFocus()) List.focus(target);
  }

  function split() {
    const rows = [...Choice.selected];
    const number = Decisions.newNumber();
    moveTo(rows, number, `${plural(rows.length, "image")} in new cluster ${number}`);
    Choice.clear();
    const field = List.parts.get(number)?.field;
    if (!field) return;
    field.scrollIntoView({ block: "center" });
    field.focus({ preventScroll: true });
  }

  function mark(rows, on) {
    const changed = rows.filter((row) => Decisions.marks.has(row) !== on);
    if (!changed.length) return;
    Decisions.act(`${plural(changed.length, "image")} ${on ? "marked" : "no longer marked"}`, [{ mark: changed, on }]);
  }

  // Decisions of an earlier version of this page.

  let earlier = null;

  /** Offer the decisions of the newest earlier version that has any left. */
  function offerEarlier() {
    earlier = Earlier.find(Decisions);
    const isHere = get("earlier").contains(document.activeElement);
    get("earlier").hidden = !earlier;
    if (!earlier && isHere) get("map").parentElement.querySelector("button")?.focus();
    if (!earlier) return;
    const { steps, can, cannot } = earlier;
    const rest = cannot.length ? ` ${cannot.join("; ")}.` : "";
    get("earlier-text").textContent = steps.length
      ? `Decisions made in an earlier version of this page can be kept: ${can.join(", ")}.${rest}`
      : `Decisions made in an earlier version of this page cannot be kept:${rest}`;
    get("keep").hidden = !steps.length;
  }

  function keepEarlier() {
    // This page, or another window of it, may have changed since.
    const found = Earlier.find(Decisions);
    if (found?.key === earlier.key && found.steps.length) {
      Decisions.act(`earlier decisions kept: ${found.can.join(", ")}`, found.steps);
      if (Decisions.isKept()) Earlier.forget(found.key);
      Choice.filter();
    }
    offerEarlier();
  }

  function discardEarlier() {
    Earlier.forget(earlier.key);
    status("Earlier decisions discarded.");
    offerEarlier();
  }

  // What is shown of them.

  function status(text) {
    get("status").textContent = text;
  }

  function updateBar(what = "") {
    const { done, undone } = Decisions;
    for (const [one, other, actions] of [["undo", "redo", done], ["redo", "undo", undone]]) {
      const isHere = document.activeElement === get(one);
      get(one).disabled = !actions.length;
      if (isHere && !actions.length) {
        get(other).disabled = false;
        get(other).focus();
      }
    }
    let lost = "";
    if (!Decisions.isKept()) lost = " This browser does not keep them: download before you leave.";
    else if (!Decisions.isForLater()) lost = " This browser has no room to keep them for a new version of this page: download before you make one.";
    const said = what ? `${what[0].toUpperCase()}${what.slice(1)}. ` : "";
    status(done.length || what ? `${said}${plural(done.length, "decision")}.${lost}` : "No decisions yet.");
    const n = [...Decisions.clusters().keys()].filter((number) => number !== NOISE).length;
    get("count").textContent = plural(n, "cluster");
    updateWhich();
    updateMark();
  }

  function updateWhich() {
    const which = get("which");
    const options = [["all", "all images"]];
    for (const number of Decisions.clusters().keys()) options.push([`cluster ${number}`, Decisions.title(number)]);
    if (Data.labels) Data.labels.names.forEach((name, i) => options.push([`label ${i}`, `label ${printable(name)}`]));
    if (Data.inspection) options.push(["doubtful", "doubtful: between two clusters"], ["odd", "odd: unlike their cluster"]);
    options.push(["marked", "marked"], ["moved", "moved"]);
    if (Data.sheets.sizes.some((size) => !size)) options.push(["gone", "without a picture"]);
    const isThere = options.some(([value]) => value === Choice.state.which);
    which.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    which.value = isThere ? Choice.state.which : "all";
    if (!isThere) Choice.set({ which: "all" });
  }

  function updateSelected() {
    const n = Choice.selected.size;
    get("selected").hidden = !n;
    get("number-selected").textContent = `${plural(n, "image")} selected`;
    say(n ? `${plural(n, "image")} selected` : "");
    updateTarget();
    updateMark();
  }

  function updateMark() {
    get("mark").textContent = areMarked() ? "Unmark" : "Mark";
  }

  const areMarked = () => [...Choice.selected].every((row) => Decisions.marks.has(row));

  /** Offer the clusters that images can be moved to. */
  function updateTarget() {
    const target = get("target");
    const before = target.value;
    if (!target.firstElementChild) target.append(make("option", { value: "" }, "…"));
    List.offer(target, null);
    target.append(make("option", { value: NOISE }, "noise"));
    if (before === String(NOISE)) target.value = before;
    get("move").disabled = target.value === "";
  }

  function updateShown() {
    let n = 0;
    for (const one of Choice.isShown) n += one;
    get("shown").textContent = n === Data.n ? "" : `${n.toLocaleString("en")} of ${Data.n.toLocaleString("en")} shown`;
  }

  function listen() {
    get("undo").addEventListener("click", () => { Decisions.undo(); Choice.filter(); });
    get("redo").addEventListener("click", () => { Decisions.redo(); Choice.filter(); });
    get("keep").addEventListener("click", keepEarlier);
    get("discard").addEventListener("click", discardEarlier);
    get("download").addEventListener("click", () => {
      ClustersTable.download();
      const place = Data.isClustered ? ": save it in place of the original, beside its .json file" : "";
      status(`Downloaded ${Data.table}${place}.`);
    });
    let timer = 0;
    get("text").addEventListener("input", (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => Choice.set({ text: event.target.value }), 150);
    });
    get("which").addEventListener("change", (event) => Choice.set({ which: event.target.value }));
    get("color").addEventListener("change", (event) => Choice.set({ color: event.target.value }));
    get("split").addEventListener("click", split);
    get("mark").addEventListener("click", () => mark([...Choice.selected], !areMarked()));
    get("clear").addEventListener("click", () => leaveSelection());
    get("selected").addEventListener("keydown", (event) => { if (event.key === "Escape") List.focus(); });
    const target = get("target");
    target.addEventListener("change", () => { get("move").disabled = target.value === ""; });
    get("move").addEventListener("click", () => {
      const number = Number(target.value);
      const rows = [...Choice.selected];
      moveTo(rows, number, `${plural(rows.length, "image")} moved to ${Decisions.title(number)}`);
      leaveSelection(number);
    });
    const follow = () => { Decisions.follow(); Choice.filter(); };
    addEventListener("storage", (event) => { if (event.key === Decisions.place) follow(); });
    // A page that a browser had put away, for its button Back, has heard nothing meanwhile.
    addEventListener("pageshow", (event) => { if (event.persisted) follow(); });
    document.addEventListener("keydown", (event) => {
      const isTyping = event.target.matches("input, select, textarea");
      if (!(event.ctrlKey || event.metaKey) || isTyping || event.key.toLowerCase() !== "z") return;
      event.preventDefault();
      get(event.shiftKey ? "redo" : "undo").click();
    });
  }

  /** Show the images that a finding names, to be opened. */
  function linkFindings() {
    const rows = new Map(Data.paths.map((path, row) => [printable(path), row]));
    for (const named of document.querySelectorAll(".findings .image")) {
      const row = rows.get(named.textContent);
      if (row === undefined) continue;
      const path = named.textContent;
      const button = make("button", { type: "button", title: path, "aria-label": path }, Pictures.element(row));
      button.addEventListener("click", () => Choice.open(row, { focus: true }));
      named.replaceChildren(button);
    }
  }

  function begin() {
    get("bar").hidden = false;
    get("filters").hidden = false;
    get("color").append(make("option", { value: "cluster" }, "cluster"));
    if (Data.labels) get("color").append(make("option", { value: "label" }, "label"));
    Decisions.changed.add(updateBar);
    Choice.selection.add(updateSelected);
    Choice.filtered.add(updateShown);
    listen();
    updateBar();
    updateShown();
    // The map needs no thumbnails to begin; the sheets stand behind this script.
    Plane.begin();
    Legend.begin();
    const rest = () => {
      Details.begin();
      List.begin();
      linkFindings();
      Pictures.arrived();
      Pictures.loadAll();
      offerEarlier();
      document.body.dataset.ready = "true";
    };
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", rest);
    else rest();
  }

  return { begin, rename, merge, split, mark, moveTo };
})();

Page.begin();
