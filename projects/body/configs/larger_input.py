_base_ = './distilled.py'
custom_imports = dict(imports=[*_base_.custom_imports['imports'], 'clock'])

# with PYTHONPATH=projects/body, from the weights of the third run: half a cosine to zero by the clock
train_cfg = dict(max_epochs=100, val_interval=4)
param_scheduler = []
custom_hooks = [*_base_.custom_hooks, dict(type='CosineByClock', hours=1.75)]
load_from = 'work_dirs/third.pth'

# codec settings: 1.3 to 1.5 times the pixels along a standing person
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(144, 192), heatmap_size=(36, 48), sigma=1.5)

# model settings
model = dict(head=dict(decoder=codec))

# pipelines: the teacher's crop is 1.33 times as long as the student's
train_pipeline = _base_.train_pipeline
train_pipeline[5].input_size = (192, 256)
train_pipeline[6].input_size = codec['input_size']
train_pipeline[8].encoder = codec
val_pipeline = _base_.val_pipeline
val_pipeline[2].input_size = codec['input_size']

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
