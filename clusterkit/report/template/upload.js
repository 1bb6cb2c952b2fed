"use strict";
// Pictures that are sent to the server: their classes, groups and neighbours.

const Upload = (() => {
  const part = get("upload-part");
  const kinds = part.dataset.kinds.split(" ");
  const show = { predict: showClasses, cluster: showGroup, similar: showNeighbors };
  let number = 0;

  const text = (words) => make("p", {}, printable(words));

  function showClasses(found) {
    const most = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const said = most.map(([name, share]) => `${name} ${share.toFixed(2)}`).join(", ");
    return text(`Class: ${found.classes.join(", ") || "none"} (${said})`);
  }

  function showGroup(found) {
    const name = found.cluster_name ? ` ${found.cluster_name}` : "";
    const sure = found.agreement === null ? "" : `; ${Math.round(100 * found.agreement)} % of the nearest images are in it`;
    const link = make("a", { href: `#cluster-${found.cluster}` }, `cluster ${found.cluster}${printable(name)}`);
    return make("p", {}, "Group: ", link, ` at distance ${found.distance.toFixed(2)}${sure}`);
  }

  function showNeighbors(found) {
    const pictures = found.neighbors.map((one) => {
      const said = `${printable(one.path)}, similarity ${one.similarity.toFixed(3)}`;
      const image = make("img", { src: `v1/images/${one.id}/thumbnail?side=96`, alt: said, title: said, height: 72 });
      const row = Data.paths.indexOf(one.path);
      if (row < 0) return image;
      const open = () => Choice.open(row, { focus: true });
      return make("button", { type: "button", "aria-label": `Open ${said}`, onclick: open }, image);
    });
    return make("div", { class: "images" }, ...pictures);
  }

  // The server limits a request: a folder of photos is sent in parts, well below it.
  const MOST_FILES = 16, MOST_BYTES = 32e6;

  /** Return files in parts that can be sent at once; one that is too large is alone. */
  function partsOf(files) {
    const parts = [[]];
    let bytes = 0;
    for (const file of files) {
      const last = parts.at(-1);
      if (last.length && (last.length === MOST_FILES || bytes + file.size > MOST_BYTES)) {
        parts.push([file]);
        bytes = file.size;
      } else {
        last.push(file);
        bytes += file.size;
      }
    }
    return parts;
  }

  /** Send pictures to an endpoint; return a result or an error for each. */
  async function ask(kind, files) {
    const body = new FormData();
    for (const file of files) body.append("files", file, file.name);
    const answer = await fetch(`v1/${kind}${kind === "similar" ? "?n=8" : ""}`, { method: "POST", body });
    const found = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
    return found.results ?? files.map(() => ({ error: found.error }));
  }

  async function send(files) {
    const mine = ++number;
    const said = get("upload-status");
    const results = get("upload-results");
    results.replaceChildren();
    if (!files.length) return;
    said.textContent = `Sending ${plural(files.length, "picture")} …`;
    const boxes = files.map((file) => {
      const image = make("img", { alt: "", height: 72 });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      image.addEventListener("error", () => image.remove());
      image.src = URL.createObjectURL(file);
      const box = make("div", { class: "row sent" }, image, make("strong", {}, printable(file.name)));
      results.append(box);
      return box;
    });
    let n = 0;
    for (const part of partsOf(files)) {
      const found = await Promise.all(kinds.map((kind) => ask(kind, part).catch(
        () => part.map(() => ({ error: "the server does not answer" })),
      )));
      if (mine !== number) return;
      part.forEach((_, i) => {
        const errors = new Set(found.map((of) => of[i].error).filter(Boolean));
        kinds.forEach((kind, at) => { if (!found[at][i].error) boxes[n + i].append(show[kind](found[at][i])); });
        for (const error of errors) boxes[n + i].append(text(`Cannot be used: ${error}`));
      });
      n += part.length;
      said.textContent = n < files.length
        ? `${n} of ${plural(files.length, "picture")} examined …` : `${plural(n, "picture")} examined.`;
    }
  }

  function begin() {
    const field = get("upload-files");
    part.hidden = false;
    field.addEventListener("change", () => send([...field.files]));
    part.addEventListener("dragover", (event) => event.preventDefault());
    part.addEventListener("drop", (event) => {
      event.preventDefault();
      send([...event.dataTransfer.files]);
    });
  }

  return { begin };
})();

Upload.begin();
