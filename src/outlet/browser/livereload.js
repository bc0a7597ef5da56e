// The client of reloadrun's --browser: LiveReload, protocol 7. Plain script, no dependencies.
// <script src="http://localhost:35729/livereload.js"></script>
(function () {
  "use strict";
  if (window.reloadrunIsHere) { return; }
  window.reloadrunIsHere = true;

  var PROTOCOL = "http://livereload.com/protocols/official-7";
  var FIRST_PAUSE = 1000, LONGEST_PAUSE = 60000;
  var given = window.LiveReloadOptions || {};
  var script = document.currentScript || document.querySelector("script[src*='livereload.js']");
  var from = script && script.src ? new URL(script.src, location.href) : null;
  // As the usual client has it: options of the page, then ?host= and ?port= behind the script, then where it came from.
  var host = given.host || (from && (from.searchParams.get("host") || from.hostname)) || location.hostname || "localhost";
  var port = given.port || (from && (from.searchParams.get("port") || from.port)) || "35729";
  var isSecure = given.https !== undefined ? given.https : from ? from.protocol === "https:" : false;

  var socket = null, pause = FIRST_PAUSE, timer = null, isOver = false, isLeaving = false;
  window.addEventListener("pagehide", function () { isLeaving = true; });
  window.addEventListener("pageshow", function (event) { if (event.persisted) { isLeaving = false; } });

  function tell(name) { document.dispatchEvent(new CustomEvent(name)); }

  function connect() {
    timer = null;
    socket = new WebSocket((isSecure ? "wss" : "ws") + "://" + host + ":" + port + "/livereload");
    socket.onopen = function () {
      // The age shows whether this page was loaded before the last reload: then it has missed it.
      send({ command: "hello", protocols: [PROTOCOL], reloadrun: 1, age: performance.now() });
    };
    socket.onmessage = function (event) { hear(JSON.parse(event.data)); };
    socket.onclose = function () {
      tell("LiveReloadDisconnect");
      if (!isOver) {
        timer = setTimeout(connect, pause);
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    };
  }

  function send(message) { socket.send(JSON.stringify(message)); }

  function hear(message) {
    switch (message.command) {
      case "hello":
        pause = FIRST_PAUSE;
        send({ command: "info", url: location.href, plugins: {} });
        tell("LiveReloadConnect");
        break;
      case "reload":
        if (/\.css$/i.test(message.path) && message.liveCSS !== false) { exchangeStyle(message.path); }
        else if (/\.(png|jpe?g|gif|webp|avif|svg|ico)$/i.test(message.path) && message.liveImg !== false) { exchangeImage(message.path); }
        else { reload(); }
        break;
      case "overlay":
        if (message.message) { show(message.message); } else { hide(); }
        break;
    }
  }

  // The page stays until the server answers: an error page of the browser would not know when to come back.
  var reloads = false;
  function reload() {
    if (reloads) { return; }
    reloads = true;
    var until = Date.now() + 60000;
    (function attempt() {
      if (!/^https?:$/.test(location.protocol)) { location.reload(); return; }
      fetch(location.href, { method: "HEAD", cache: "no-store", redirect: "manual" }).then(
        function () { if (!isLeaving) { location.reload(); } },
        function () {
          // The command has failed meanwhile: the next reload begins anew.
          if (isLeaving || Date.now() > until || overlay) { reloads = false; return; }
          setTimeout(attempt, 150);
        }
      );
    })();
  }

  // How many pieces at the end two paths have in common.
  function likeness(one, other) {
    var first = pieces(one), second = pieces(other), count = 0;
    while (count < first.length && count < second.length &&
           first[first.length - 1 - count] === second[second.length - 1 - count]) { count += 1; }
    return count;
  }
  function pieces(path) { return path.split(/[?#]/)[0].split("/").filter(Boolean); }

  // Those that are most like the path; none if not even the name fits.
  function best(elements, address, path) {
    var most = 1, found = [];
    elements.forEach(function (element) {
      var value = address(element);
      var fits = value ? likeness(decoded(value), path) : 0;
      if (fits > most) { most = fits; found = []; }
      if (fits === most) { found.push(element); }
    });
    return found;
  }
  function decoded(address) { try { return decodeURI(new URL(address, location.href).pathname); } catch (_) { return address; } }

  function fresh(address) {
    var url = new URL(address, location.href);
    url.searchParams.set("livereload", String(Date.now()));
    return url.href;
  }

  function exchangeStyle(path) {
    var all = Array.prototype.slice.call(document.querySelectorAll("link[rel~='stylesheet'][href]"))
      .filter(function (link) { return !link.reloadrunGoes; });
    var found = best(all, function (link) { return link.href; }, path);
    // It may be imported by any of them.
    (found.length ? found : all).forEach(function (link) {
      var next = link.cloneNode(false);
      next.href = fresh(link.href);
      link.reloadrunGoes = true;
      var done = function () { if (link.parentNode) { link.parentNode.removeChild(link); } };
      // The old one stays until the new one is there, so that nothing flickers.
      next.onload = done;
      next.onerror = done;
      link.parentNode.insertBefore(next, link.nextSibling);
    });
  }

  function exchangeImage(path) {
    var count = 0;
    best(Array.prototype.slice.call(document.images), function (image) { return image.src; }, path).forEach(function (image) {
      image.src = fresh(image.src);
      count += 1;
    });
    best(Array.prototype.slice.call(document.querySelectorAll("link[rel~='icon'][href]")), function (link) { return link.href; }, path)
      .forEach(function (link) { link.href = fresh(link.href); count += 1; });
    // In a stylesheet, or in a place that only the page itself knows.
    if (count === 0) { reload(); }
  }

  var overlay = null;
  function show(text) {
    hide();
    overlay = document.createElement("div");
    overlay.id = "reloadrun-overlay";
    overlay.setAttribute("role", "alert");
    var root = overlay.attachShadow ? overlay.attachShadow({ mode: "open" }) : overlay;
    var box = document.createElement("div"), title = document.createElement("strong"), words = document.createElement("pre");
    // By the object, not as text: a strict policy (CSP) forbids style attributes.
    var look = function (element, rules) { Object.keys(rules).forEach(function (key) { element.style[key] = rules[key]; }); };
    look(overlay, { position: "fixed", inset: "0 0 auto 0", zIndex: "2147483647" });
    look(box, { background: "#2b1216", color: "#ffd9d9", borderBottom: "4px solid #e5484d", padding: "16px 20px",
                font: "14px/1.5 ui-monospace, Menlo, Consolas, monospace", boxShadow: "0 4px 24px rgba(0,0,0,.4)" });
    look(words, { margin: "6px 0 0", font: "inherit", whiteSpace: "pre-wrap", overflowWrap: "anywhere", color: "#fff" });
    title.textContent = "reloadrun";
    words.textContent = text;
    box.appendChild(title);
    box.appendChild(words);
    root.appendChild(box);
    (document.body || document.documentElement).appendChild(overlay);
  }
  function hide() {
    if (overlay && overlay.parentNode) { overlay.parentNode.removeChild(overlay); }
    overlay = null;
  }

  // Extensions switch it off by this event.
  document.addEventListener("LiveReloadShutDown", function () {
    isOver = true;
    clearTimeout(timer);
    if (socket) { socket.close(); }
  });
  connect();
})();
