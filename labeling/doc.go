// Package labeling collects judgements of answers in a terminal.
//
// In: items, each a prompt and answers to it (Mode), from `plumb pairs` or from anyone's files (Import).
// Out: judgements (Store.Judgements) for the reward stage, and files other tools read (Export).
//
// A store is one SQLite file holding an append-only log of events; what is true now is a fold of that log:
//
//  1. AddItems puts items in the queue. The content hash names an item, so adding twice adds once.
//  2. Session.Next picks the next item (Queue) and draws which answer is shown on which side from the seed.
//  3. A key becomes one event (who, when, how long, order shown, choice, strength) in one transaction; the screen moves on
//     only after the commit. So a killed program loses at most the key that was not yet acknowledged.
//  4. Undo and redo are events too, that point at the event they take back or put again. Nothing is changed or deleted.
//  5. Judgements folds the log: for each item and person the last judgement that is not undone. EachLabel is what they
//     amount to for training; Quality measures how good they are.
//
// What a choice means for the reward model: strength much, clearly, somewhat, slightly becomes the margin 1, 2/3, 1/3, 0 of
// the Bradley-Terry loss (Touvron et al. 2023, "Llama 2", section 3.2.2); a tie becomes the soft label 1/2 with margin 0;
// both bad and can't say are kept in the log and train nothing (both bad is two undesirable rows in the KTO export).
package labeling
