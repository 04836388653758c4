(function () {
  "use strict";
  var root = document.documentElement, $ = function (s, e) { return (e || document).querySelector(s); };
  var all = function (s, e) { return Array.prototype.slice.call((e || document).querySelectorAll(s)); };

  // Theme: what the system prefers, until the reader says otherwise. Storage may be forbidden for files.
  function stored(value) {
    try {
      if (value === undefined) { return localStorage.getItem("lab-theme"); }
      localStorage.setItem("lab-theme", value);
    } catch (e) { /* a page from a file may not store: the choice holds until it is closed */ }
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

  var viewer = $(".viewer"), data = {}, source = $("#packet-data");
  if (source) { data = JSON.parse(source.textContent); }
  if (!viewer) { return; }
  var body = $(".body-svg", viewer), items = all(".p", body), inspector = $("#inspector");
  var pinned = null, current = -1;

  function fill(item) {
    var fields = (item.dataset.p !== undefined ? data["p" + item.dataset.p] : data["b" + item.dataset.b]) || [];
    $("h3", inspector).textContent = item.getAttribute("aria-label").replace(/^[^:]*: /, "").split(", arrived")[0];
    var list = $("dl", inspector);
    list.textContent = "";
    fields.forEach(function (pair) {
      var dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = pair[0]; dd.textContent = pair[1];
      list.append(dt, dd);
    });
    inspector.hidden = false;
  }
  function close() {
    if (pinned) { pinned.classList.remove("on"); }
    pinned = null; inspector.hidden = true;
  }
  function show(item, pin) {
    if (pin) {
      if (pinned) { pinned.classList.remove("on"); }
      pinned = item; item.classList.add("on");
    }
    fill(item);
  }
  function visible() { return items.filter(function (i) { return !i.classList.contains("off"); }); }
  function focus(item) {
    if (!item) { return; }
    items.forEach(function (i) { i.setAttribute("tabindex", i === item ? "0" : "-1"); });
    current = items.indexOf(item);
    item.focus({ preventScroll: true });
    bring(item);
  }
  function bring(item) {
    var box = item.getBoundingClientRect(), frame = viewer.getBoundingClientRect();
    var head = $(".head", viewer).offsetHeight;
    if (box.top < frame.top + head + 8 || box.bottom > frame.bottom - 8) {
      viewer.scrollTop += box.top - frame.top - head - (viewer.clientHeight - head) / 3;
    }
    if (box.right < frame.left + 60 || box.left > frame.right - 60) {
      viewer.scrollLeft += box.left - frame.left - 40;
    }
    var seen = item.getBoundingClientRect();
    if (seen.top < 60 || seen.bottom > innerHeight - 40) { scrollBy(0, seen.top - innerHeight / 3); }
  }
  items.forEach(function (item, n) {
    if (n === 0) { item.setAttribute("tabindex", "0"); }
    item.addEventListener("pointerenter", function (e) { if (!pinned && e.pointerType === "mouse") { show(item); } });
    item.addEventListener("pointerleave", function () { if (!pinned) { inspector.hidden = true; } });
    item.addEventListener("click", function () { if (pinned === item) { close(); } else { focus(item); show(item, true); } });
    item.addEventListener("focus", function () { if (!pinned || pinned !== item) { show(item, true); } });
  });
  $("button", inspector).addEventListener("click", close);
  viewer.addEventListener("keydown", function (e) {
    var shown = visible(), at = shown.indexOf(items[current]);
    if (e.key === "ArrowDown" || e.key === "j") { focus(shown[Math.min(shown.length - 1, at + 1)]); }
    else if (e.key === "ArrowUp" || e.key === "k") { focus(shown[Math.max(0, at - 1)]); }
    else if (e.key === "Home") { focus(shown[0]); }
    else if (e.key === "End") { focus(shown[shown.length - 1]); }
    else if (e.key === "+" || e.key === "=") { zoom(scale * 1.2); }
    else if (e.key === "-") { zoom(scale / 1.2); }
    else if (e.key === "0") { fit(); }
    else { return; }
    e.preventDefault();
  });
  document.addEventListener("keydown", function (e) { if (e.key === "Escape") { close(); } });

  // Jumps to packets from tables and from the address
  function jump(id) {
    var item = document.getElementById(id);
    if (!item || items.indexOf(item) < 0) { return false; }
    if (item.classList.contains("off")) { flow.value = ""; filter(); }
    close(); focus(item); show(item, true);
    return true;
  }
  document.addEventListener("click", function (e) {
    var link = e.target.closest && e.target.closest("a[href^='#p'], a[href^='#b']");
    if (link && jump(link.getAttribute("href").slice(1))) { e.preventDefault(); }
  });
  addEventListener("hashchange", function () { jump(location.hash.slice(1)); });

  // Zoom: fits the width, but never so small that it cannot be read
  var scale = 1, width = parseFloat(getComputedStyle(viewer).getPropertyValue("--w"));
  function zoom(value) {
    var x = (viewer.scrollLeft + viewer.clientWidth / 2) / scale, y = viewer.scrollTop / scale;
    scale = Math.min(3, Math.max(0.25, value));
    viewer.style.setProperty("--zoom", scale);
    // What fits the page scrolls with it; what does not scrolls in a window of its own.
    viewer.classList.toggle("free", width * scale <= viewer.clientWidth + 1 && body.viewBox.baseVal.height * scale < 5000);
    viewer.scrollLeft = x * scale - viewer.clientWidth / 2; viewer.scrollTop = y * scale;
    $("#zoom-now").textContent = Math.round(scale * 100) + " %";
  }
  function fit() { zoom(Math.min(1.25, viewer.clientWidth / width)); }
  $("#zoom-in").addEventListener("click", function () { zoom(scale * 1.2); });
  $("#zoom-out").addEventListener("click", function () { zoom(scale / 1.2); });
  $("#zoom-fit").addEventListener("click", fit);
  zoom(Math.min(1.1, Math.max(innerWidth < 700 ? 0.86 : 0.72, viewer.clientWidth / width)));
  if (viewer.scrollWidth > viewer.clientWidth + 4) { viewer.scrollLeft = parseFloat(viewer.dataset.gap) * scale - 46; }

  // Filter by flow
  var flow = $("#flow");
  function filter() {
    all("[data-f]", body).forEach(function (e) {
      e.classList.toggle("off", flow.value !== "" && e.dataset.f !== flow.value);
    });
    all("#packet-table tbody tr").forEach(function (row) {
      row.hidden = flow.value !== "" && row.dataset.f !== flow.value;
    });
  }
  if (flow) { flow.addEventListener("change", filter); }
  $(".tools").hidden = false;
  if (location.hash) { jump(location.hash.slice(1)); }
}());
