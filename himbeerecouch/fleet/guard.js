function (doc, old, user, security) {
  // Who may write what into a database of himbeerecouch.  CouchDB calls this before each write, and refuses what it
  // throws.  ES5 and nothing outside of this function: that is what CouchDB's oldest engine takes.
  var place = "programs";

  function has(object, key) {
    return Object.prototype.hasOwnProperty.call(object, key);
  }

  function isList(value) {
    // What comes from another context is no instance of this one's Array.
    return Object.prototype.toString.call(value) === "[object Array]";
  }

  function isObject(value) {
    return typeof value === "object" && value !== null;
  }

  function holds(list, value) {
    for (var i = 0; isList(list) && i < list.length; i += 1) {
      if (list[i] === value) { return true; }
    }
    return false;
  }

  function same(one, other) {
    var key;
    if (!isObject(one) || !isObject(other)) { return one === other; }
    if (isList(one) !== isList(other)) { return false; }
    // An engine that takes a field __proto__ for the prototype would not show it below.
    if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) { return false; }
    for (key in one) {
      if (has(one, key) && !(has(other, key) && same(one[key], other[key]))) { return false; }
    }
    for (key in other) {
      if (has(other, key) && !has(one, key)) { return false; }
    }
    return true;
  }

  function field(object, key) {
    return isObject(object) && has(object, key) ? object[key] : undefined;
  }

  function isAdmin() {
    var admins = field(security, "admins"), roles = isList(user.roles) ? user.roles : [];
    for (var i = 0; i < roles.length; i += 1) {
      if (roles[i] === "_admin" || holds(field(admins, "roles"), roles[i])) { return true; }
    }
    return typeof user.name === "string" && holds(field(admins, "names"), user.name);
  }

  // What a Pi writes of a command beside what it was asked for.
  function isAnswer(key, value) {
    function isText(part) { return part === null || typeof part === "string"; }
    if (key === "execution") { return isObject(value) && !isList(value); }
    return key === "ret" && isList(value) && value.length === 2 && isText(value[0]) && isText(value[1]);
  }

  // CouchDB's own fields: it looks after them, but for these two.
  function isOurs(key) {
    return key.charAt(0) !== "_" || key === "_attachments" || key === "_deleted";
  }

  function answersCommand() {
    var key;
    if (field(old, "type") !== user.name + "_cmd" || has(old, "ret") || has(doc, "_deleted")) { return false; }
    for (key in old) {
      if (has(old, key) && isOurs(key) && !has(doc, key)) { return false; }
    }
    for (key in doc) {
      if (has(doc, key) && isOurs(key) && !(has(old, key) && same(old[key], doc[key])) && !isAnswer(key, doc[key])) {
        return false;
      }
    }
    return Object.getPrototypeOf(old) === Object.getPrototypeOf(doc);
  }

  function tellsStatus() {
    var kind = field(doc, "type"), number = Number(user.name);
    if (has(doc, "_deleted") || has(doc, "_attachments") || (kind !== "heartbeat" && kind !== "log")) { return false; }
    if (kind === "heartbeat" || has(doc, "mac_id")) {
      if (field(doc, "mac_id") !== number) { return false; }
    }
    return doc._id === user.name + "_" + kind;
  }

  if (isAdmin()) { return; }
  if (typeof user.name !== "string") {
    throw({unauthorized: "himbeerecouch: log in to write here"});
  }
  if (!/^[0-9]+$/.test(user.name)) {
    if (holds(user.roles, "himbeerecouch_operator")) { return; }
    throw({forbidden: "himbeerecouch: writing takes the role himbeerecouch_operator, which an admin gives; " +
      user.name + " may only read"});
  }
  // A number names a Pi, which is no operator, whatever roles it has been given.
  if (/^[1-9]/.test(user.name) && (place === "programs" ? answersCommand() : tellsStatus())) { return; }
  throw({forbidden: "himbeerecouch: writing takes the role himbeerecouch_operator and a name that is no number; " +
    "Raspberry Pi " + user.name + " may only write " +
    (place === "programs" ? "ret and execution into an open command for it" : "its own heartbeat and log")});
}
