"use strict";
// The byte rate limits: shows those in force, and changes them. A refresh does not overwrite what is being typed.

const LIMITS = [["limit-download", "download_bytes_per_second"], ["limit-upload", "upload_bytes_per_second"],
  ["limit-upload-per-peer", "upload_bytes_per_second_per_peer"]];

class LimitsForm {
  // `change` sends the limits that differ from those in force. It resolves to true if the node accepted them.
  constructor(change) {
    this.fields = LIMITS.map(([id, name]) => ({ name, input: document.getElementById(id) }));
    this.persist = document.getElementById("limits-persist");
    this.error = document.getElementById("limits-error");
    this.kept = document.getElementById("limits-kept");
    document.getElementById("limits").addEventListener("submit", async (event) => {
      event.preventDefault();
      const wanted = this.read();
      if (!wanted || !await change(wanted)) return;
      this.persist.checked = false;
      this.inForce = undefined;
    });
  }

  // The typed change; null if a field does not contain a rate.
  read() {
    const change = this.persist.checked ? { persist: true } : {};
    put(this.error, "");
    for (const { name, input } of this.fields) {
      const rate = rateOf(input.value);
      input.setAttribute("aria-invalid", String(rate === null));
      if (rate === null) {
        put(this.error, "Write a rate as 500000, 512 KiB, 10 MiB or 1 GiB; 0 for no limit.");
        input.focus();
        return null;
      }
      if (rate !== this.inForce?.[name]) change[name] = rate;
    }
    return change;
  }

  show(limits) {
    for (const { name, input } of this.fields) {
      const before = this.inForce?.[name];
      const typed = before !== undefined && input.value !== rateText(before);
      if (before !== limits[name] && !typed) input.value = rateText(limits[name]);
    }
    this.inForce = limits;
    put(this.kept, limits.persistent ? "per second" : "per second, until the node stops");
  }
}
