"use strict";
// The decisions as the table that clusterkit reads: the same bytes as it writes.

const ClustersTable = (() => {
  // A spreadsheet would evaluate these as a formula: they get the prefix '.
  const FORMULA = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;
  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

  /** Return a cell as CSV. */
  function cell(text) {
    const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  /** Return a name that was typed as the data have it: what would read as an escape is escaped. */
  function escape(name) {
    return name.replace(/\\(?=u(?:dc[89a-f][0-9a-f]|005c))/g, "\\u005c");
  }

  /** Return a name as it was typed. */
  function unescape(name) {
    return name.replace(/\\u005c(?=u(?:dc[89a-f][0-9a-f]|005c))/g, "\\");
  }

  /** Return all images with their clusters. */
  function text() {
    const { labels, names, marks } = Decisions;
    const isNamed = names.size > 0 || Data.names.size > 0;
    const columns = ["path", "cluster", "distance", "exemplar"];
    if (isNamed) columns.push("name");
    if (marks.size) columns.push("mark");
    const lines = [columns.join(",")];
    for (let row = 0; row < Data.n; row++) {
      const label = labels[row];
      const isMoved = label !== Data.clusters[row];
      const distance = Data.distances[row];
      const cells = [
        cell(Data.paths[row]),
        String(label),
        isMoved || Number.isNaN(distance) ? "" : distance.toFixed(6),
        String(!isMoved && Data.exemplars.has(row)),
      ];
      if (isNamed) cells.push(cell(label === NOISE ? "" : names.get(label) ?? ""));
      if (marks.size) cells.push(marks.has(row) ? "x" : "");
      lines.push(cells.join(","));
    }
    return lines.join("\n") + "\n";
  }

  /** Offer the table as a file. */
  function download() {
    const address = URL.createObjectURL(new Blob([text()], { type: "text/csv" }));
    const link = make("a", { href: address, download: Data.table });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  return { text, download, escape, unescape };
})();
