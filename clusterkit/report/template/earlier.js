"use strict";
// Decisions made in an earlier version of this page, whose rows and numbers of clusters were others.
//
// The browser's memory holds the actions of each version with decisions, and its images and clusters
// as they were; and for each page, by its address and the name of its table, which versions it had.
// Images are found again by path and content, clusters by their images.

const Earlier = (() => {
  const LETTERS = 8;
  const address = location.href.split(/[?#]/)[0];
  const here = `clusterkit-page:${Data.table}:${address}`;
  const placeOf = (key) => `clusterkit-report:${key}`;
  const imagesOf = (key) => `clusterkit-images:${key}`;
  const imageAt = (images, row) => images.slice(LETTERS * row, LETTERS * (row + 1));

  /** Return the versions with decisions of this page, or of another. */
  function versions(place = here) {
    const keys = JSON.parse(localStorage.getItem(place) ?? "[]");
    return Array.isArray(keys) ? keys : [];
  }

  /** Note that this version has decisions, or none, and return whether that is kept. */
  function remember(hasSome) {
    try {
      if (!hasSome) {
        forget(Data.key);
        return true;
      }
      if (!localStorage.getItem(imagesOf(Data.key))) {
        const { images, packedClusters, names } = Data;
        const kept = { images, clusters: packedClusters, names: [...names] };
        localStorage.setItem(imagesOf(Data.key), JSON.stringify(kept));
      }
      const keys = versions();
      if (!keys.includes(Data.key)) localStorage.setItem(here, JSON.stringify([...keys, Data.key]));
      return true;
    } catch {
      return false;
    }
  }

  /** Drop the decisions of a version, unless a copy of that page stands elsewhere. */
  function forget(key) {
    try {
      const rest = versions().filter((one) => one !== key);
      if (rest.length) localStorage.setItem(here, JSON.stringify(rest));
      else localStorage.removeItem(here);
      const pages = Object.keys(localStorage).filter((place) => place.startsWith("clusterkit-page:"));
      if (pages.some((place) => versions(place).includes(key))) return;
      localStorage.removeItem(imagesOf(key));
      localStorage.removeItem(placeOf(key));
    } catch {
      // Forbidden: there is nothing to drop.
    }
  }

  /** Return an earlier version before and after its decisions. */
  function read(key) {
    const { images, clusters, names } = JSON.parse(localStorage.getItem(imagesOf(key)));
    const actions = JSON.parse(localStorage.getItem(placeOf(key)));
    const before = { labels: numbers(Float64Array, clusters), names: new Map(names) };
    const after = { labels: before.labels.slice(), names: new Map(names), marks: new Set() };
    const n = before.labels.length;
    if (images.length !== LETTERS * n) throw new Error("damaged");
    for (const { steps } of actions) {
      for (const step of steps) Steps.apply(after, Steps.unpack(step, n));
    }
    return { images, before, after };
  }

  /** Return the number that most images have, and how many do. */
  function mostOf(rows, labels) {
    const counts = new Map();
    for (const row of rows) if (labels[row] !== NOISE) counts.set(labels[row], (counts.get(labels[row]) ?? 0) + 1);
    return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), [null, 0]);
  }

  /** Return the steps that do here what was decided in an earlier version, and what they cannot do. */
  function plan({ images, before, after }, { labels, names, marks, newNumber }) {
    const rowOf = new Map();
    for (let row = 0; row < Data.n; row++) rowOf.set(imageAt(Data.images, row), row);
    const gone = new Set();
    const stayed = new Set();
    const groups = new Map();
    let n = 0;
    const group = (number) => {
      if (!groups.has(number)) groups.set(number, { own: [], moved: [] });
      return groups.get(number);
    };
    after.labels.forEach((number, old) => {
      const row = rowOf.get(imageAt(images, old));
      const isMoved = number !== before.labels[old];
      if (row === undefined) {
        if (isMoved || after.marks.has(old)) gone.add(old);
        return;
      }
      n += 1;
      group(number)[isMoved ? "moved" : "own"].push(row);
      if (!isMoved) stayed.add(row);
    });
    for (const number of after.names.keys()) group(number);

    /** Return the number here of a cluster: most of its images are most of that one's; null if none is. */
    function find({ own, moved }, name) {
      const [number, most] = mostOf(own.length ? own : moved, labels);
      if (number === null) return null;
      if (own.length) {
        let all = 0;
        for (const row of stayed) all += labels[row] === number;
        return 2 * most > own.length && 2 * most > all ? number : null;
      }
      // One that was made in the page is here if it was downloaded: by its name, or without other images.
      const isSame = name ? names.get(number) === name : ![...stayed].some((row) => labels[row] === number);
      return 2 * most > moved.length && isSame ? number : null;
    }

    const steps = [];
    let nMoved = 0, nNamed = 0, nUnknown = 0, next = newNumber();
    for (const [number, one] of groups) {
      const name = after.names.get(number) ?? "";
      const oldName = before.names.get(number) ?? "";
      const isNamed = name !== oldName;
      if (!one.moved.length && !(isNamed && one.own.length)) continue;
      let target = number === NOISE ? NOISE : find(one, name);
      if (target === null && one.own.length) {
        nUnknown += 1;
        continue;
      }
      target ??= next++;
      const rows = one.moved.filter((row) => labels[row] !== target);
      if (rows.length) steps.push({ move: rows, to: target });
      nMoved += rows.length;
      const nameHere = names.get(target) ?? "";
      if (!isNamed || nameHere === name) continue;
      // All rows would hold the name that they had, as if nobody had named the new cluster.
      const isAsBefore = target >= Data.next && one.moved.every((row) => Data.names.get(Data.clusters[row]) === name);
      if ((nameHere && nameHere !== oldName) || isAsBefore) nUnknown += 1;
      else {
        steps.push({ name: target, as: name });
        nNamed += 1;
      }
    }
    const marked = [...after.marks].map((old) => rowOf.get(imageAt(images, old)));
    const toMark = marked.filter((row) => row !== undefined && !marks.has(row));
    if (toMark.length) steps.push({ mark: toMark, on: true });

    const can = [];
    if (nMoved) can.push(`${plural(nMoved, "image")} moved`);
    if (nNamed) can.push(plural(nNamed, "name"));
    if (toMark.length) can.push(`${plural(toMark.length, "image")} marked`);
    const cannot = [];
    if (gone.size) cannot.push(`${plural(gone.size, "image")} ${gone.size === 1 ? "is" : "are"} gone or changed`);
    if (nUnknown) cannot.push(`${plural(nUnknown, "cluster")} ${nUnknown === 1 ? "has" : "have"} other images or another name now`);
    return { n, steps, can, cannot };
  }

  /** Return the plan of the newest earlier version whose decisions are not all here; null if there is none. */
  function find(state) {
    let keys = [];
    try {
      keys = versions().filter((key) => key !== Data.key).reverse();
    } catch {
      return null;
    }
    for (const key of keys) {
      try {
        const found = plan(read(key), state);
        // A server of other images had this address: they are its.
        if (!found.n && location.protocol !== "file:") continue;
        if (found.steps.length || found.cannot.length) return { key, ...found };
        forget(key);
      } catch {
        // Damaged, or of a version to come.
      }
    }
    return null;
  }

  return { placeOf, remember, forget, find };
})();
