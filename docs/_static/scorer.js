// How the search ranks: lessons and method cards before everything else, the API last.
"use strict";

const PLACES = [["notebooks/", 12], ["methods/", 10], ["library/", -100], ["commands", -5], ["genindex", -100]];

var Scorer = {
  score: ([page, , , , score]) => score + (PLACES.find(([start]) => page.startsWith(start)) ?? ["", 0])[1],
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
