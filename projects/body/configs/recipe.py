_base_ = './equal_budget.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'truncation'])

# with PYTHONPATH=projects/body, 24 800 images from the weights of the third run
load_from = 'work_dirs/third.pth'

# averaged over 100 of the 780 iterations
custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.01

# pipelines: boxes without a margin again, and a place for persons who are cut off
train_pipeline = _base_.train_pipeline
train_pipeline[1].padding = 1.0
train_pipeline[4].scale_factor = (0.75, 1.5)
train_pipeline.insert(1, dict(type='RandomTruncation', prob=0))
val_pipeline = _base_.val_pipeline
val_pipeline[1].padding = 1.0

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
