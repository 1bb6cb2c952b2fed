"use strict";
// The points of the map, by WebGL, or with fillRect where it is missing.

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

function pointsByWebGL(canvas) {
  const gl = canvas.getContext("webgl", { antialias: false, alpha: true, depth: false });
  if (!gl) return null;
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
  const at = (name) => gl.getUniformLocation(program, name);
  const [scale, shift, size] = [at("scale"), at("shift"), at("size")];
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
  let n = 0;
  const fill = (name, numbers) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.DYNAMIC_DRAW);
  };
  return {
    kind: "webgl",
    places(xy) { n = xy.length / 2; fill("place", xy); },
    tints(rgba) { fill("tint", rgba); },
    draw(view, pixels) {
      const { width, height } = canvas;
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const ratio = view.ratio;
      gl.uniform2f(scale, (2 * view.scale * ratio) / width, (-2 * view.scale * ratio) / height);
      gl.uniform2f(shift, (2 * view.x * ratio) / width - 1, 1 - (2 * view.y * ratio) / height);
      gl.uniform1f(size, pixels * ratio);
      gl.drawArrays(gl.POINTS, 0, n);
    },
  };
}

function pointsByHand(canvas) {
  const context = canvas.getContext("2d");
  if (!context) return null;
  let xy = new Float32Array(0);
  let rgba = new Uint8Array(0);
  return {
    kind: "2d",
    places(given) { xy = given; },
    tints(given) { rgba = given; },
    draw(view, pixels) {
      const side = pixels * view.ratio;
      context.clearRect(0, 0, canvas.width, canvas.height);
      let last = -1;
      for (let i = 0; i < xy.length / 2; i++) {
        if (!rgba[4 * i + 3]) continue;
        const x = (xy[2 * i] * view.scale + view.x) * view.ratio;
        const y = (xy[2 * i + 1] * view.scale + view.y) * view.ratio;
        if (x < 0 || y < 0 || x > canvas.width || y > canvas.height) continue;
        const color = (rgba[4 * i] << 16) | (rgba[4 * i + 1] << 8) | rgba[4 * i + 2];
        if (color !== last) context.fillStyle = `#${color.toString(16).padStart(6, "0")}`;
        last = color;
        context.fillRect(x - side / 2, y - side / 2, side, side);
      }
    },
  };
}
