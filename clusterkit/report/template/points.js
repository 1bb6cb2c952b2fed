"use strict";
// The points of the map, by WebGL.  Without a graphics card, WebGL draws 100,000 points several times
// as slowly as a loop over the pixels, which also serves where WebGL is missing.  The address of the
// page may end in #webgl, which takes it in any case.

const VERTEX = `
attribute vec2 place;
attribute vec4 tint;
uniform vec2 scale;
uniform vec2 shift;
uniform float size;
varying vec4 color;
void main() {
  gl_Position = vec4(place * scale + shift, 0.0, 1.0);
  gl_PointSize = tint.a > 0.0 ? size : 0.0;
  if (tint.a == 0.0) gl_Position = vec4(2.0, 2.0, 0.0, 1.0);
  color = tint;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 color;
void main() {
  gl_FragColor = vec4(color.rgb, 1.0);
}`;

/** Return what draws points on a canvas: places(xy), tints(rgba) and draw(view, size). */
function pointsOn(canvas) {
  return pointsByWebGL(canvas) ?? pointsByHand(canvas);
}

/** Return whether WebGL is drawn by a graphics card; a canvas that was asked is WebGL's for good. */
function hasCard() {
  const gl = document.createElement("canvas").getContext("webgl", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|software|basic render/i.test(renderer);
}

function pointsByWebGL(canvas) {
  if (location.hash !== "#webgl" && !hasCard()) return null;
  const gl = canvas.getContext("webgl", { antialias: false, depth: false });
  if (!gl) return null;
  const kept = { place: new Float32Array(0), tint: new Uint8Array(0) };
  let parts = null;

  function prepare() {
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.useProgram(program);
    const buffers = {};
    for (const [name, count, kind, isShare] of [
      ["place", 2, gl.FLOAT, false], ["tint", 4, gl.UNSIGNED_BYTE, true],
    ]) {
      buffers[name] = gl.createBuffer();
      const index = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.enableVertexAttribArray(index);
      gl.vertexAttribPointer(index, count, kind, isShare, 0, 0);
    }
    const [scale, shift, size] = ["scale", "shift", "size"].map((name) => gl.getUniformLocation(program, name));
    return { buffers, scale, shift, size };
  }

  function fill(name, numbers) {
    kept[name] = numbers;
    gl.bindBuffer(gl.ARRAY_BUFFER, parts.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.DYNAMIC_DRAW);
  }

  parts = prepare();
  if (!parts) return null;
  // A card may be taken away, as when a laptop sleeps, and come back with nothing in it.
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => {
    parts = prepare();
    if (!parts) return;
    for (const name of ["place", "tint"]) fill(name, kept[name]);
    Plane.draw();
  });
  return {
    kind: "webgl",
    places(xy) { fill("place", xy); },
    tints(rgba) { fill("tint", rgba); },
    draw(view, pixels) {
      const { width, height } = canvas;
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const ratio = view.ratio;
      gl.uniform2f(parts.scale, (2 * view.scale * ratio) / width, (-2 * view.scale * ratio) / height);
      gl.uniform2f(parts.shift, (2 * view.x * ratio) / width - 1, 1 - (2 * view.y * ratio) / height);
      gl.uniform1f(parts.size, pixels * ratio);
      gl.drawArrays(gl.POINTS, 0, kept.place.length / 2);
    },
  };
}

function pointsByHand(canvas) {
  const context = canvas.getContext("2d");
  if (!context) return null;
  let xy = new Float32Array(0);
  let rgba = new Uint32Array(0);
  let image = null;
  return {
    kind: "2d",
    places(given) { xy = given; },
    tints(given) { rgba = new Uint32Array(given.buffer); },
    draw(view, pixels) {
      const { width, height } = canvas;
      const side = Math.round(pixels * view.ratio);
      if (image?.width !== width || image.height !== height) image = context.createImageData(width, height);
      const target = new Uint32Array(image.data.buffer);
      target.fill(0);
      const scale = view.scale * view.ratio;
      const left = view.x * view.ratio - side / 2;
      const top = view.y * view.ratio - side / 2;
      for (let i = 0; i < rgba.length; i++) {
        if (!rgba[i]) continue;
        const x = Math.round(xy[2 * i] * scale + left);
        const y = Math.round(xy[2 * i + 1] * scale + top);
        if (x < 0 || y < 0 || x + side > width || y + side > height) continue;
        for (let line = y * width; line < (y + side) * width; line += width) {
          for (let at = line + x; at < line + x + side; at++) target[at] = rgba[i];
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}
