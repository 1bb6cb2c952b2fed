"use strict";
// The map: points, thumbnails when near, zoom, pan and lasso.

const Plane = (() => {
  const box = get("map-box");
  const canvas = get("over");
  const context = canvas.getContext("2d");
  const points = context && pointsOn(get("points"));
  // Screen = place * scale + (x, y), in CSS pixels; ratio is that of the screen's own pixels.
  const view = { scale: 1, x: 0, y: 0, ratio: 1, width: 0, height: 0 };
  const LEAST = 0.5, MOST = 4000;
  let fitted = 1;
  let places = new Float32Array(0);
  let isLasso = false;
  let lasso = null;
  let hasPictures = true;
  let isAsked = false;
  let levels = new Map();
  let drawn = [];
  const isThere = Boolean(points);

  // Where the images are.

  function setLayout(number) {
    const given = Data.layouts[number].places;
    places = new Float32Array(2 * Data.n);
    for (let row = 0; row < Data.n; row++) {
      const isNowhere = given[2 * row] === NOWHERE && given[2 * row + 1] === NOWHERE;
      places[2 * row] = isNowhere ? NaN : given[2 * row] / NOWHERE;
      // Up is up.
      places[2 * row + 1] = isNowhere ? NaN : 1 - given[2 * row + 1] / NOWHERE;
    }
    points.places(places.map((value) => (Number.isNaN(value) ? -9 : value)));
    fit();
  }

  const shownAt = (row) => Choice.isShown[row] && !Number.isNaN(places[2 * row]);

  function paint() {
    const tints = new Uint8Array(4 * Data.n);
    const known = new Map();
    for (let row = 0; row < Data.n; row++) {
      if (!shownAt(row)) continue;
      const color = Choice.color(row);
      if (!known.has(color)) known.set(color, parseInt(color.slice(1), 16));
      const value = known.get(color);
      tints[4 * row] = value >> 16;
      tints[4 * row + 1] = (value >> 8) & 255;
      tints[4 * row + 2] = value & 255;
      tints[4 * row + 3] = 255;
    }
    points.tints(tints);
    levels = new Map();
    chosen = null;
    ask();
  }

  // What is drawn.  Of images that would cover each other, the most central of its cluster has
  // its picture shown; which these are depends on the zoom alone, so that they stay on a move.

  function pictured(level) {
    if (levels.has(level)) return levels.get(level);
    const step = 2 ** level;
    // A grid with a margin; deep in the map it would be too large, and most cells empty.
    const wide = Math.ceil(1 / step) + 3;
    const taken = wide < 2000 ? new Int32Array(wide * wide) : new Map();
    const held = taken instanceof Map ? (cell) => taken.get(cell) : (cell) => taken[cell];
    const hold = taken instanceof Map ? (cell, row) => taken.set(cell, row) : (cell, row) => { taken[cell] = row; };
    const around = [-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1];
    const rows = [];
    for (const row of byRank()) {
      if (!shownAt(row)) continue;
      const x = places[2 * row], y = places[2 * row + 1];
      const cell = (Math.floor(y / step) + 1) * wide + Math.floor(x / step) + 1;
      // Two in one cell cover each other; rows are held by their number plus one.
      if (held(cell)) continue;
      const isCovered = around.some((by) => {
        const other = held(cell + by);
        if (!other) return false;
        const at = 2 * (other - 1);
        return Math.abs(places[at] - x) < step && Math.abs(places[at + 1] - y) < step;
      });
      if (isCovered) continue;
      hold(cell, row + 1);
      rows.push(row);
    }
    if (levels.size > 8) levels.delete(levels.keys().next().value);
    levels.set(level, rows);
    return rows;
  }

  let ranked = null;

  /** Return the images, the most central of each cluster first. */
  function byRank() {
    if (ranked) return ranked;
    const clusters = [...Decisions.clusters().values()];
    const longest = clusters.reduce((most, rows) => Math.max(most, rows.length), 0);
    ranked = new Uint32Array(Data.n);
    let n = 0;
    for (let i = 0; i < longest; i++) {
      for (const rows of clusters) if (i < rows.length) ranked[n++] = rows[i];
    }
    return ranked;
  }

  const toX = (row) => places[2 * row] * view.scale + view.x;
  const toY = (row) => places[2 * row + 1] * view.scale + view.y;

  function inView(row, margin) {
    const x = toX(row), y = toY(row);
    return x > -margin && y > -margin && x < view.width + margin && y < view.height + margin;
  }

  let chosen = null;

  /** Return an image for each cluster: one of the most central that is in its middle on the map. */
  function representatives() {
    if (chosen) return chosen;
    chosen = [];
    for (const rows of Decisions.clusters().values()) {
      const there = rows.filter(shownAt);
      if (!there.length) continue;
      const middle = (axis) => there.map((row) => places[2 * row + axis]).sort((a, b) => a - b)[there.length >> 1];
      const [x, y] = [middle(0), middle(1)];
      const far = (row) => Math.hypot(places[2 * row] - x, places[2 * row + 1] - y);
      chosen.push(there.slice(0, 50).reduce((best, row) => (far(row) < far(best) ? row : best)));
    }
    return chosen;
  }

  const isNear = () => view.scale >= 2 * fitted || Data.n <= 1000;

  /** Return the rows whose picture is shown, and how large. */
  function choosePictures() {
    if (!hasPictures) return [[], 0];
    if (!isNear()) return [representatives().filter((row) => inView(row, 40)), 40];
    // Small from afar and larger when near, by half steps of the scale.
    const least = Math.min(60, 32 * Math.sqrt(view.scale / fitted));
    const level = Math.ceil(2 * Math.log2(least / view.scale)) / 2;
    const side = Math.min(96, 0.95 * 2 ** level * view.scale);
    return [pictured(level).filter((row) => inView(row, side)), side];
  }

  function draw() {
    isAsked = false;
    if (!view.width) return;
    const near = Math.min(4, Math.log2(view.scale / fitted + 1));
    points.draw(view, Math.max(3, Math.min(12, (Data.n > 20000 ? 2 : 4) + 1.5 * near)));
    context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    const [rows, side] = choosePictures();
    drawn = [];
    context.lineWidth = 2.5;
    for (const row of rows) {
      const x = toX(row), y = toY(row);
      if (!Pictures.draw(context, row, x, y, side) && Pictures.has(row)) continue;
      const [w, h] = Pictures.shape(row, side);
      context.strokeStyle = Choice.color(row);
      context.strokeRect(x - w / 2, y - h / 2, w, h);
      drawn.push([row, x, y, w / 2, h / 2]);
    }
    if (!isNear()) drawNames(rows);
    drawSelected();
    drawOpen();
    drawLasso();
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) drawMiddle();
  }

  function drawNames(rows) {
    if (Choice.state.color !== "cluster" || rows.length > 40) return;
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "top";
    const ink = getComputedStyle(box).getPropertyValue("--ink");
    const paper = getComputedStyle(box).getPropertyValue("--paper");
    const taken = [];
    for (const row of rows) {
      const text = Decisions.title(Decisions.labels[row]);
      const short = text.length > 22 ? `${text.slice(0, 21)}…` : text;
      // A name that would lie on another is left out: zooming in shows it.
      const wide = context.measureText(short).width / 2;
      const [x, y] = [toX(row), toY(row)];
      if (taken.some(([cx, cy, half]) => Math.abs(cx - x) < half + wide && Math.abs(cy - y) < 14)) continue;
      taken.push([x, y, wide]);
      context.lineWidth = 4;
      context.strokeStyle = paper;
      context.strokeText(short, toX(row), toY(row) + 23);
      context.fillStyle = ink;
      context.fillText(short, toX(row), toY(row) + 23);
    }
  }

  function drawSelected() {
    if (!Choice.selected.size) return;
    context.strokeStyle = getComputedStyle(box).getPropertyValue("--ink");
    context.lineWidth = 1.5;
    let left = 5000;
    for (const row of Choice.selected) {
      if (!shownAt(row) || !inView(row, 0)) continue;
      if (!left--) break;
      context.strokeRect(toX(row) - 5, toY(row) - 5, 10, 10);
    }
  }

  function drawOpen() {
    const row = Choice.state.open;
    if (row === null || Number.isNaN(places[2 * row])) return;
    context.strokeStyle = getComputedStyle(box).getPropertyValue("--ink");
    context.lineWidth = 1;
    const { count, rows } = Data.neighbors;
    for (let i = 0; i < count; i++) {
      const other = rows[row * count + i];
      if (other >= Data.n || Number.isNaN(places[2 * other])) continue;
      context.beginPath();
      context.moveTo(toX(row), toY(row));
      context.lineTo(toX(other), toY(other));
      context.stroke();
    }
    context.lineWidth = 3;
    context.beginPath();
    context.arc(toX(row), toY(row), 12, 0, 7);
    context.stroke();
  }

  function drawLasso() {
    if (!lasso) return;
    context.strokeStyle = getComputedStyle(box).getPropertyValue("--ink");
    context.lineWidth = 2;
    context.setLineDash([6, 4]);
    context.beginPath();
    for (const [x, y] of lasso) context.lineTo(x, y);
    context.closePath();
    context.stroke();
    context.setLineDash([]);
  }

  function drawMiddle() {
    context.strokeStyle = getComputedStyle(box).getPropertyValue("--ink");
    context.lineWidth = 1;
    const [x, y] = [view.width / 2, view.height / 2];
    context.beginPath();
    context.moveTo(x - 9, y);
    context.lineTo(x + 9, y);
    context.moveTo(x, y - 9);
    context.lineTo(x, y + 9);
    context.stroke();
  }

  /** Draw before the next frame. */
  function ask() {
    if (!isAsked) {
      isAsked = true;
      requestAnimationFrame(draw);
    }
  }

  // How it is moved.

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = box;
    if (!width || (width === view.width && height === view.height && ratio === view.ratio)) return;
    for (const one of [canvas, get("points")]) {
      one.width = Math.round(width * ratio);
      one.height = Math.round(height * ratio);
    }
    const isFitted = view.scale === fitted;
    Object.assign(view, { width, height, ratio });
    if (isFitted) fit();
    // A canvas that has another size is empty until it is drawn.
    draw();
  }

  function fit() {
    const margin = 36;
    // The square of the places, as far as there are any in it.
    let [left, top, right, bottom] = [1, 1, 0, 0];
    for (let row = 0; row < Data.n; row++) {
      const x = places[2 * row], y = places[2 * row + 1];
      if (Number.isNaN(x)) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
    const wide = Math.max(right - left, 1e-3), high = Math.max(bottom - top, 1e-3);
    const room = [Math.max(50, view.width - 2 * margin), Math.max(50, view.height - 2 * margin)];
    fitted = Math.min(room[0] / wide, room[1] / high);
    view.scale = fitted;
    view.x = view.width / 2 - ((left + right) / 2) * fitted;
    view.y = view.height / 2 - ((top + bottom) / 2) * fitted;
    ask();
  }

  function zoom(factor, x = view.width / 2, y = view.height / 2) {
    const scale = Math.max(LEAST * fitted, Math.min(MOST * fitted, view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    ask();
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    ask();
  }

  /** Bring an image to the middle. */
  function show(row) {
    if (!isThere || Number.isNaN(places[2 * row])) return;
    if (inView(row, -20)) return ask();
    move(view.width / 2 - toX(row), view.height / 2 - toY(row));
  }

  // What is under the pointer.

  /** Return the image at a point of the screen; null if there is none near. */
  function at(x, y, reach = 14) {
    for (let i = drawn.length - 1; i >= 0; i--) {
      const [row, px, py, w, h] = drawn[i];
      if (Math.abs(px - x) <= w && Math.abs(py - y) <= h) return row;
    }
    let best = null, least = reach * reach;
    for (let row = 0; row < Data.n; row++) {
      if (!shownAt(row)) continue;
      const distance = (toX(row) - x) ** 2 + (toY(row) - y) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  /** Return the images in a polygon of the screen. */
  function inside(polygon) {
    const rows = [];
    for (let row = 0; row < Data.n; row++) {
      if (!shownAt(row)) continue;
      const x = toX(row), y = toY(row);
      let isIn = false;
      for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
        const [ax, ay] = polygon[i], [bx, by] = polygon[j];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) isIn = !isIn;
      }
      if (isIn) rows.push(row);
    }
    return rows;
  }

  function setLasso(on) {
    isLasso = on;
    get("lasso").setAttribute("aria-pressed", String(on));
    canvas.classList.toggle("lasso", on);
  }

  function listen() {
    const fingers = new Map();
    let start = null;
    const place = (event) => {
      const edge = canvas.getBoundingClientRect();
      return [event.clientX - edge.left, event.clientY - edge.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(event));
      start = { at: place(event), isMoved: false };
      if (fingers.size === 1 && (isLasso || event.shiftKey)) lasso = [place(event)];
      if (fingers.size > 1) lasso = null;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const [x, y] = place(event);
      const [oldX, oldY] = fingers.get(event.pointerId);
      if (Math.hypot(x - start.at[0], y - start.at[1]) > 4) start.isMoved = true;
      if (lasso) {
        lasso.push([x, y]);
        ask();
      } else if (fingers.size === 2) {
        const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, one]) => one);
        const before = Math.hypot(oldX - other[0], oldY - other[1]) || 1;
        move((x - oldX) / 2, (y - oldY) / 2);
        zoom(Math.hypot(x - other[0], y - other[1]) / before, (x + other[0]) / 2, (y + other[1]) / 2);
      } else if (start.isMoved) {
        move(x - oldX, y - oldY);
      }
      fingers.set(event.pointerId, [x, y]);
    });
    const end = (event) => {
      if (!fingers.delete(event.pointerId)) return;
      const polygon = lasso;
      lasso = null;
      if (polygon && polygon.length > 2) {
        if (!event.ctrlKey && !event.metaKey) Choice.selected.clear();
        Choice.select(inside(polygon));
      } else if (event.type === "pointerup" && !start.isMoved && !fingers.size) {
        const row = at(...place(event));
        if (row !== null && (event.ctrlKey || event.metaKey)) Choice.toggle(row);
        else if (row !== null) Choice.open(row);
      }
      ask();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...place(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => zoom(2, ...place(event)));
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const by = 60;
      const does = {
        ArrowLeft: () => move(by, 0), ArrowRight: () => move(-by, 0),
        ArrowUp: () => move(0, by), ArrowDown: () => move(0, -by),
        "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fit,
        Escape: () => { lasso = null; setLasso(false); ask(); },
        Enter: () => {
          const row = at(view.width / 2, view.height / 2, Infinity);
          if (row !== null) Choice.open(row, { focus: true });
        },
      }[event.key];
      if (!does) return;
      event.preventDefault();
      does();
    });
    canvas.addEventListener("focus", ask);
    canvas.addEventListener("blur", ask);
    get("zoom-in").addEventListener("click", () => zoom(1.6));
    get("zoom-out").addEventListener("click", () => zoom(1 / 1.6));
    get("fit").addEventListener("click", fit);
    get("lasso").addEventListener("click", () => setLasso(!isLasso));
    get("in-view").addEventListener("click", () => {
      const { width, height } = view;
      Choice.select(inside([[0, 0], [width, 0], [width, height], [0, height]]));
    });
    get("pictures").addEventListener("change", (event) => {
      hasPictures = event.target.checked;
      ask();
    });
    get("layout").addEventListener("change", (event) => choose(Number(event.target.value)));
    new ResizeObserver(resize).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ask);
  }

  function choose(number) {
    setLayout(number);
    paint();
    get("layout-note").textContent = Data.layouts[number].note;
  }

  function begin() {
    if (!isThere) return;
    get("map-part").hidden = false;
    Data.layouts.forEach((one, i) => get("layout").append(make("option", { value: i }, one.name)));
    get("layout-label").hidden = Data.layouts.length < 2;
    listen();
    resize();
    choose(0);
    draw();
    Pictures.arrived.add(ask);
    Choice.filtered.add(paint);
    Choice.colored.add(paint);
    Choice.selection.add(ask);
    Choice.opened.add((row) => { if (row !== null) show(row); ask(); });
    Decisions.changed.add(() => { ranked = null; paint(); });
    performance.mark("map");
  }

  const place = (row) => [toX(row), toY(row)];

  return { begin, isThere, view, draw, fit, zoom, move, inside, at, place, kind: points?.kind };
})();
