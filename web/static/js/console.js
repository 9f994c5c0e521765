// The console's own script: live progress of a request. Every page reads without it.
(function () {
  "use strict";

  function follow(list) {
    var source = new EventSource(list.dataset.stream);
    var state = document.getElementById(list.dataset.state);
    var live = document.getElementById(list.dataset.live);
    var pending = 0;

    function refresh() {
      window.clearTimeout(pending);
      pending = window.setTimeout(function () {
        fetch(list.dataset.fragment, { headers: { "HX-Request": "true" }, credentials: "same-origin" })
          .then(function (answer) { return answer.ok ? answer.text() : null; })
          .then(function (text) { if (text !== null) { state.innerHTML = text; } })
          .catch(function () { /* the next event, or a reload, tries again */ });
      }, 300);
    }

    source.addEventListener("progress", function (event) {
      var known = list.querySelector('[data-event="' + CSS.escape(event.lastEventId) + '"]');
      if (!known) {
        var atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
        list.insertAdjacentHTML("beforeend", event.data);
        if (atEnd) { list.scrollTop = list.scrollHeight; }
      }
      refresh();
    });
    source.addEventListener("end", function () {
      source.close();
      if (live) { live.hidden = true; }
      refresh();
    });
    if (live) { live.hidden = false; }
    list.scrollTop = list.scrollHeight;
  }

  document.querySelectorAll("[data-stream]").forEach(follow);
  document.querySelectorAll("[data-mark-all]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      var boxes = Array.from(button.form.querySelectorAll("input[type=checkbox]"));
      var all = boxes.every(function (box) { return box.checked; });
      boxes.forEach(function (box) { box.checked = !all; });
    });
  });
  document.querySelectorAll("[data-print]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () { window.print(); });
  });
})();
