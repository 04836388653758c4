(function () {
  "use strict";
  var root = document.documentElement, $ = function (s, e) { return (e || document).querySelector(s); };
  var all = function (s, e) { return Array.prototype.slice.call((e || document).querySelectorAll(s)); };

  // Theme: the system's preference, until the reader chooses. A page from a file may have no storage.
  function stored(value) {
    try {
      if (value === undefined) { return localStorage.getItem("lab-theme"); }
      localStorage.setItem("lab-theme", value);
    } catch (e) { /* no storage: the choice lasts until the page is closed */ }
    return null;
  }
  function dark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  var theme = $("#theme"), saved = stored();
  if (saved === "dark" || saved === "light") { root.dataset.theme = saved; }
  function nameTheme() { theme.textContent = dark() ? "Light theme" : "Dark theme"; }
  if (theme) {
    nameTheme(); theme.hidden = false;
    theme.addEventListener("click", function () {
      root.dataset.theme = dark() ? "light" : "dark"; stored(root.dataset.theme); nameTheme();
    });
  }

  if (!$(".viewer")) { return; }
  var data = JSON.parse($("#packet-data").textContent), inspector = $("#inspector"), flow = $("#flow");
  var pinned = null;

  // Two drawings of one diagram, wide and narrow; the style sheet shows one of them.
  function View(viewer) {
    var self = this;
    this.frame = viewer; this.body = $(".body-svg", viewer); this.head = $(".head", viewer);
    this.items = all(".p", this.body); this.current = -1; this.scale = 1;
    this.width = parseFloat(viewer.style.getPropertyValue("--w"));
    this.items.forEach(function (item, n) {
      if (n === 0) { item.setAttribute("tabindex", "0"); }
      item.addEventListener("pointerenter", function (e) { if (!pinned && e.pointerType === "mouse") { fill(item); } });
      item.addEventListener("pointerleave", function () { if (!pinned) { inspector.hidden = true; } });
      item.addEventListener("click", function () { if (pinned === item) { close(); } else { self.go(item); } });
      item.addEventListener("focus", function () { if (pinned !== item) { pin(item); } });
    });
    viewer.addEventListener("keydown", function (e) { self.key(e); });
  }
  View.prototype.shown = function () { return this.items.filter(function (i) { return !i.classList.contains("off"); }); };
  View.prototype.go = function (item) {
    if (!item) { return; }
    this.items.forEach(function (i) { i.setAttribute("tabindex", i === item ? "0" : "-1"); });
    this.current = this.items.indexOf(item);
    item.focus({ preventScroll: true });
    pin(item); this.bring(item);
  };
  View.prototype.bring = function (item) {
    var box = item.getBoundingClientRect(), frame = this.frame.getBoundingClientRect(), head = this.head.offsetHeight;
    if (!this.frame.classList.contains("free")) {
      if (box.top < frame.top + head + 8 || box.bottom > frame.bottom - 8) {
        this.frame.scrollTop += box.top - frame.top - head - (this.frame.clientHeight - head) / 3;
      }
      if (box.left > frame.right - 60 || box.right < frame.left + 60) { this.frame.scrollLeft += box.left - frame.left - 40; }
    }
    box = item.getBoundingClientRect();
    if (box.top < 150 || box.bottom > innerHeight - 60) { scrollBy(0, box.top - innerHeight / 3); }
  };
  View.prototype.key = function (e) {
    var shown = this.shown(), at = shown.indexOf(this.items[this.current]);
    if (e.key === "ArrowDown" || e.key === "j") { this.go(shown[Math.min(shown.length - 1, at + 1)]); }
    else if (e.key === "ArrowUp" || e.key === "k") { this.go(shown[Math.max(0, at - 1)]); }
    else if (e.key === "Home") { this.go(shown[0]); }
    else if (e.key === "End") { this.go(shown[shown.length - 1]); }
    else if (e.key === "+" || e.key === "=") { this.choose(this.scale * 1.2); }
    else if (e.key === "-") { this.choose(this.scale / 1.2); }
    else if (e.key === "0") { this.choose(this.fitting()); }
    else { return; }
    e.preventDefault();
  };
  View.prototype.zoom = function (value) {
    var frame = this.frame, old = this.scale;
    var x = (frame.scrollLeft + frame.clientWidth / 2) / old, y = frame.scrollTop / old;
    this.scale = Math.min(3, Math.max(0.25, value));
    frame.style.setProperty("--zoom", this.scale);
    // A diagram that fits the page scrolls with it; a larger one scrolls in a window of its own.
    var fits = this.width * this.scale <= frame.clientWidth + 1 && this.body.viewBox.baseVal.height * this.scale < 6000;
    frame.classList.toggle("free", fits);
    frame.scrollLeft = x * this.scale - frame.clientWidth / 2; frame.scrollTop = y * this.scale;
    $("#zoom-now").textContent = Math.round(this.scale * 100) + " %";
  };
  View.prototype.fitting = function () { return Math.min(1.25, this.frame.clientWidth / this.width); };
  View.prototype.choose = function (value) { this.chosen = true; this.zoom(value); };
  // At first: the whole width if it can still be read, otherwise from the first host's edge on.
  View.prototype.start = function () {
    this.zoom(Math.min(1.1, Math.max(0.68, this.frame.clientWidth / this.width)));
    if (!this.frame.classList.contains("free")) { this.frame.scrollLeft = this.frame.dataset.gap * this.scale - 46; }
  };

  function fill(item) {
    $("h3", inspector).textContent = item.getAttribute("aria-label").replace(/^[^:]*: /, "").split(", arrived")[0];
    var list = $("dl", inspector);
    list.textContent = "";
    (data[item.dataset.k] || []).forEach(function (pair) {
      var dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = pair[0]; dd.textContent = pair[1];
      list.append(dt, dd);
    });
    inspector.hidden = false;
  }
  function pin(item) {
    if (pinned) { pinned.classList.remove("on"); }
    pinned = item; item.classList.add("on"); fill(item);
  }
  function close() {
    if (pinned) { pinned.classList.remove("on"); }
    pinned = null; inspector.hidden = true;
  }

  var views = all(".viewer").map(function (v) { return new View(v); }), begun = [];
  function view() {
    var now = views.filter(function (v) { return v.frame.offsetParent !== null; })[0] || views[0];
    if (begun.indexOf(now) < 0) { begun.push(now); now.start(); }
    return now;
  }
  function filter() {
    views.forEach(function (v) {
      all("[data-f]", v.body).forEach(function (e) {
        e.classList.toggle("off", flow.value !== "" && e.dataset.f !== flow.value);
      });
    });
    all("#packet-table tbody tr").forEach(function (row) {
      row.hidden = flow.value !== "" && row.dataset.f !== flow.value;
    });
  }
  // Jumps to packets, from tables and from the address
  function jump(key) {
    var here = view(), item = here.items.filter(function (i) { return i.dataset.k === key; })[0];
    if (!item) { return false; }
    if (item.classList.contains("off")) { flow.value = ""; filter(); }
    here.go(item);
    return true;
  }

  $(".tools").hidden = false;
  $("#zoom-in").addEventListener("click", function () { view().choose(view().scale * 1.2); });
  $("#zoom-out").addEventListener("click", function () { view().choose(view().scale / 1.2); });
  $("#zoom-fit").addEventListener("click", function () { view().choose(view().fitting()); });
  if (flow) { flow.addEventListener("change", filter); }
  $("button", inspector).addEventListener("click", close);
  document.addEventListener("keydown", function (e) { if (e.key === "Escape") { close(); } });
  document.addEventListener("click", function (e) {
    var link = e.target.closest && e.target.closest("a[href^='#p'], a[href^='#b']");
    if (link && jump(link.getAttribute("href").slice(1))) { e.preventDefault(); }
  });
  addEventListener("hashchange", function () { jump(location.hash.slice(1)); });
  addEventListener("resize", function () {
    var here = view();
    if (!here.chosen) { here.start(); }
    here.zoom(here.scale);
  });
  view();
  if (location.hash) { jump(location.hash.slice(1)); }
}());
