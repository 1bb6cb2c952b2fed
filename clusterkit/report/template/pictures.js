"use strict";
// Thumbnails: cells of sheets, which are in the page or in a folder beside it.

const Pictures = (() => {
  const { side, columns, kind, count, files, cells, sizes } = Data.sheets;
  const perSheet = columns * columns;
  const addresses = new Map();
  const blobs = new Map();
  // Decoded sheets, the last used at the end: of half the size for the map from afar, and whole.
  const decoded = { small: new Map(), large: new Map() };
  const most = { small: 240, large: 48 };
  const waiting = [];
  let running = 0;
  const arrived = signal();

  const has = (row) => sizes[2 * row] > 0;

  /** Return the address of a sheet; null if the page has not been read that far. */
  function address(sheet) {
    if (files) return files[sheet];
    if (!addresses.has(sheet)) {
      const element = get(`sheet-${sheet}`);
      if (!element) return null;
      const text = atob(element.textContent);
      const bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
      blobs.set(sheet, new Blob([bytes], { type: kind }));
      addresses.set(sheet, URL.createObjectURL(blobs.get(sheet)));
    }
    return addresses.get(sheet);
  }

  /** Return an element that shows an image; its size is the variable --side of the style. */
  function element(row) {
    const shown = make("span", { class: "thumb" });
    if (!has(row)) {
      shown.classList.add("gone");
      return shown;
    }
    const cell = cells[row] % perSheet;
    const url = address(Math.floor(cells[row] / perSheet));
    // The last sheets are not whole, and not scaled by the number of their columns alone.
    const inner = make("span", { class: "cell" });
    inner.style.setProperty("--w", sizes[2 * row] / side);
    inner.style.setProperty("--h", sizes[2 * row + 1] / side);
    inner.style.setProperty("--x", cell % columns);
    inner.style.setProperty("--y", Math.floor(cell / columns));
    inner.style.setProperty("--columns", columnsOf(Math.floor(cells[row] / perSheet)));
    if (url) inner.style.backgroundImage = `url("${url}")`;
    shown.append(inner);
    return shown;
  }

  /** Return the number of columns of a sheet: only a single row is shorter than eight. */
  function columnsOf(sheet) {
    return Math.min(columns, Data.n - sheet * perSheet);
  }

  /** Return the width and height of a sheet in pixels. */
  function extent(sheet) {
    const rows = Math.ceil(Math.min(perSheet, Data.n - sheet * perSheet) / columns);
    return [side * columnsOf(sheet), side * rows];
  }

  async function load(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    return image;
  }

  async function decode(sheet, size) {
    const url = address(sheet);
    if (url === null) return;
    const [width, height] = extent(sheet);
    const scale = size === "small" ? 0.5 : 1;
    const options = {
      resizeWidth: width * scale, resizeHeight: height * scale, resizeQuality: "medium",
    };
    // A blob is decoded beside the page's own work; files can only be had as elements.
    const bitmap = await createImageBitmap(blobs.get(sheet) ?? (await load(url)), options);
    decoded[size].set(sheet, bitmap);
    if (decoded[size].size > most[size]) {
      const [oldest, old] = decoded[size].entries().next().value;
      decoded[size].delete(oldest);
      old.close();
    }
    arrived();
  }

  function work() {
    while (running < 2 && waiting.length) {
      const [sheet, size] = waiting.shift();
      running++;
      const next = () => { asked.delete(`${size} ${sheet}`); running--; work(); };
      decode(sheet, size).then(next, () => { failed.add(`${size} ${sheet}`); next(); });
    }
  }

  const kept = [];

  /** Load the sheets in the page one after the other: what nobody has scrolled to is printed, too. */
  function loadAll() {
    if (files || kept.length === count) return;
    const image = new Image();
    image.src = address(kept.length);
    kept.push(image);
    setTimeout(loadAll, 50);
  }

  const asked = new Set();
  const failed = new Set();

  /** Return a decoded sheet; null if it is not there yet, in which case it is asked for. */
  function bitmap(sheet, size) {
    const found = decoded[size].get(sheet);
    if (found) {
      decoded[size].delete(sheet);
      decoded[size].set(sheet, found);
      return found;
    }
    const key = `${size} ${sheet}`;
    if (!asked.has(key) && !failed.has(key)) {
      asked.add(key);
      waiting.push([sheet, size]);
      // What was asked for long ago is no longer in view.
      while (waiting.length > 64) {
        const [old, of] = waiting.shift();
        asked.delete(`${of} ${old}`);
      }
      work();
    }
    return null;
  }

  /** Draw an image into a square of a canvas, in its proportions; return whether it was there. */
  function draw(context, row, x, y, width) {
    if (!has(row)) return false;
    const size = width > side / 2 ? "large" : "small";
    const sheet = Math.floor(cells[row] / perSheet);
    const source = bitmap(sheet, size) ?? decoded[size === "large" ? "small" : "large"].get(sheet);
    if (!source) return false;
    const cell = cells[row] % perSheet;
    const step = source.width / columnsOf(sheet);
    const w = (sizes[2 * row] / side) * step;
    const h = (sizes[2 * row + 1] / side) * step;
    const [wide, high] = shape(row, width);
    context.drawImage(
      source, (cell % columns) * step, Math.floor(cell / columns) * step, w, h,
      x - wide / 2, y - high / 2, wide, high,
    );
    return true;
  }

  /** Return the width and height of an image in a square. */
  function shape(row, width) {
    if (!has(row)) return [width, width];
    return [(width * sizes[2 * row]) / side, (width * sizes[2 * row + 1]) / side];
  }

  return { has, element, draw, shape, loadAll, arrived };
})();
